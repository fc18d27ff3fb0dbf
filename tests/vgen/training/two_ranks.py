"""One of two processes that train together over gloo; run by ``test_distributed``."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed

from tests.vgen.training.toys import adversarial, material, pairs, settings, step_of, unet
from vgen.errors import ConfigError, VgenError
from vgen.models.vae import VideoVae
from vgen.models.vae_settings import VaeSettings
from vgen.training.distributed import Group
from vgen.training.duel import adversarial_step, critics_of
from vgen.training.loop import Place, train
from vgen.training.state import TrainState
from vgen.training.step import pixel_step, vae_step

BATCH = 3
"""Odd, so that the two have different shares."""
POISONED = 10.0


def gradients(kind, group, *, poisoned_rank=None):
    """Take one step of a stage on this process's samples; return the gradients it used."""
    chosen = settings(batch=BATCH, adversarial=adversarial())
    lanes = group.lanes(BATCH)
    step = step_of(chosen, learning_rate=1e-3, group=group, lanes=lanes)
    torch.manual_seed(3)
    if kind == "vae":
        chosen = settings(batch=BATCH, size="vae-tiny")
        step = step_of(chosen, learning_rate=1e-3, group=group, lanes=lanes)
        state = TrainState.fresh(VideoVae(VaeSettings(widths=(8,), latents=2)), "vae")
        take, (degraded, clean) = vae_step, pairs(BATCH, 2, outputs=2)
    elif kind == "adversarial":
        state = TrainState.fresh(unet(), "window")
        state.begin_adversarial(4, critics_of(chosen.adversarial))
        take, (degraded, clean) = adversarial_step, pairs(BATCH, 5, outputs=3)
    else:
        state = TrainState.fresh(unet(), "window")
        take, (degraded, clean) = pixel_step, pairs(BATCH, 3)
    own = slice(lanes.start, lanes.stop)
    degraded = degraded[own].clone()
    if group.rank == poisoned_rank:
        degraded[0, 0, 0, 0, 0] = torch.nan
    take(state, degraded, clean[own], step)
    made = {f"network.{k}": v.grad for k, v in state.network.named_parameters()}
    for critic_kind, critic in state.critics.items():
        made |= {f"{critic_kind}.{k}": v.grad for k, v in critic.network.named_parameters()}
    made["skipped"] = state.monitors["skipped"]
    return {key: value.contiguous() for key, value in made.items()}


def whole_run(folder, group):
    chosen = settings(batch=BATCH, steps=20, adversarial=adversarial())
    train(material(), chosen, Place(run_uri=str(folder), group=group, log_every_s=0.01))
    return chosen


def heard(group):
    """Return what a process hears of the first one's words, bytes and failure."""
    told = group.told([1.5 + group.rank, 2.0])
    content = group.by_first(lambda: b"from the first")

    def fail() -> bytes:
        raise ConfigError("nothing to eat")

    try:
        group.by_first(fail)
    except VgenError as error:
        fault = f"{type(error).__name__}: {error}"
    return repr((told, content, group.by_first(lambda: b""), fault))


def main(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=300),
    )
    group = Group.current()
    for kind in ("pixel", "adversarial", "vae"):
        save_file(gradients(kind, group), folder / f"{kind}-{rank}.safetensors")
    poisoned = gradients("pixel", group, poisoned_rank=1)
    save_file({"skipped": poisoned["skipped"]}, folder / f"poisoned-{rank}.safetensors")
    (folder / f"heard-{rank}.txt").write_text(heard(group))
    whole_run(folder / "run", group)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
