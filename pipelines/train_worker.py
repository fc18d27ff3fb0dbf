"""What runs inside the workers of a training run, and what watches them."""

from dataclasses import dataclass
from typing import Any

import cv2
import ray
import torch
from ray.train import UserCallback
from ray.train.torch import get_device

from vgen.errors import ConfigError, VgenError
from vgen.training.clips import load_material
from vgen.training.distributed import ElsewhereError, Group
from vgen.training.loop import Place, train
from vgen.training.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every worker is told once; pickled, so it holds no secret."""

    data_uri: str
    run_uri: str
    settings: TrainSettings
    threads: int
    """Of torch and OpenCV in a worker."""
    processes: int
    """Beside each worker, that make examples."""
    log_every_s: float
    board: Any
    """Handle of the ``Board`` actor; Ray gives it no type."""


def run_worker(config: dict[str, Work]) -> None:
    """Train as one worker of the group that Ray Train made.

    A fault that a retry would meet again is pinned to the board. It is raised all the same: that
    frees workers that wait for this one in a collective operation.
    """
    work = config["work"]
    if ray.get(work.board.fault.remote()) is not None:  # pinned after Ray asked EndAtFault
        return
    try:
        _train(work)
    except ElsewhereError:
        raise
    except VgenError as error:
        ray.get(work.board.fail.remote(error))
        raise
    except torch.OutOfMemoryError as error:
        fault = ConfigError("the GPU's memory is too small for a step; lower batch or patch_px")
        ray.get(work.board.fail.remote(fault))
        raise fault from error


class EndAtFault(UserCallback):
    """Ends the run at a fault on the board, where Ray would make its workers anew."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Raise the fault, if there is one: Ray retries nothing that its own process met."""
        del run_context, worker_exceptions
        fault = ray.get(self._board.fault.remote())
        if fault is not None:
            raise fault


def _train(work: Work) -> None:
    torch.set_num_threads(work.threads)
    cv2.setNumThreads(1)
    place = Place(
        run_uri=work.run_uri,
        group=Group.current(),
        device=get_device(),
        processes=work.processes,
        log_every_s=work.log_every_s,
    )
    material = load_material(work.data_uri, frames=work.settings.pool.frames)
    train(material, work.settings, place, tell=work.board.tell.remote)
