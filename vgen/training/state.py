"""Everything a training run must remember to go on as if it had never stopped."""

import copy
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from vgen.errors import ReleaseError
from vgen.models.generator import TemporalUNet, UNetSettings, widen_window

EMA_DECAY = 0.999
BETAS = (0.9, 0.99)
WEIGHT_DECAY = 1e-4
CHECKPOINT_FORMAT = 1


@dataclass(slots=True, kw_only=True)
class TrainState:
    """The networks, the optimiser and how far the run has come; changed by every step."""

    network: TemporalUNet
    average: TemporalUNet
    """Exponential moving average of ``network``: what gets evaluated and released."""
    optimizer: torch.optim.AdamW
    skipped: Tensor
    """Steps left out because their gradients were not finite."""
    step: int = 0
    elapsed_s: float = 0.0

    @classmethod
    def fresh(cls, network: TemporalUNet, *, step: int = 0, elapsed_s: float = 0.0) -> Self:
        """Start with ``network`` and an optimiser that has seen nothing."""
        # torch's stubs do not know this keyword, though its documentation does.
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        device = next(network.parameters()).device
        return cls(
            network=network,
            average=copy.deepcopy(network).requires_grad_(False).eval(),
            optimizer=torch.optim.AdamW(
                network.parameters(), betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
            ),
            skipped=torch.zeros((), device=device),
            step=step,
            elapsed_s=elapsed_s,
        )

    def widened(self, window: int) -> Self:
        """Return a state whose network looks at ``window`` frames and starts out the same."""
        made = self.fresh(
            widen_window(self.network, window), step=self.step, elapsed_s=self.elapsed_s
        )
        made.average = widen_window(self.average, window).requires_grad_(False).eval()
        made.skipped = self.skipped
        return made

    def save(self, path: Path) -> None:
        """Write a checkpoint; the file appears whole or not at all."""
        partial_path = path.with_name(f".{path.name}.partial")
        torch.save(
            {
                "format": CHECKPOINT_FORMAT,
                "settings": self.network.settings.to_mapping(),
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "skipped": self.skipped,
                "step": self.step,
                "elapsed_s": self.elapsed_s,
            },
            partial_path,
        )
        partial_path.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a checkpoint; tensors and plain values only, nothing in it is executed.

        Raises:
            ReleaseError: damaged, or of another format.
        """
        try:
            document = torch.load(path, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            raise ReleaseError(f"checkpoint {str(path)!r} is damaged; delete it") from error
        found = document.get("format") if isinstance(document, dict) else None
        if found != CHECKPOINT_FORMAT:
            raise ReleaseError(f"{path.name}: checkpoint format {found!r} is not 1; delete it")
        settings = UNetSettings.from_mapping(document["settings"])
        state = cls.fresh(
            TemporalUNet(settings), step=document["step"], elapsed_s=document["elapsed_s"]
        )
        state.network.load_state_dict(document["network"])
        state.average.load_state_dict(document["average"])
        state.optimizer.load_state_dict(document["optimizer"])
        state.skipped = document["skipped"]
        return state
