"""What a training run tells whoever watches it; without torch, as watchers need none."""

from collections.abc import Mapping
from dataclasses import dataclass

from vgen.training.schedule import Stage

_SHOWN = {
    "total": "loss {:.4f}",
    "psnr_db": "{:.2f} dB",
    "bits": "{:.3f} bits a dimension",
    "kl": "KL {:.3f} nats a pixel",
    "image_accuracy": "image critic right in {:.0%}",
    "temporal_accuracy": "temporal critic right in {:.0%}",
}
"""What of the losses a line for people shows; all of them are in the curves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come."""

    step: int
    stage: Stage
    spent: float
    """Share of the budget, 0 to 1 and beyond."""
    elapsed_s: float
    left_s: float
    """Estimate of the time until the end."""
    learning_rate: float
    losses: Mapping[str, float]
    """Means over all samples of the step reported."""
    samples_per_s: float
    """Of all workers together, since the last report."""
    wait_share: float
    """Share of the first worker's time, since the last report, spent waiting for samples."""
    skipped: int
    """Steps left out by the guards, since the beginning."""

    def line(self) -> str:
        """Describe it in one line that stands alone."""
        shown = {name: self.losses[name] for name in _SHOWN if name in self.losses}
        parts = [
            f"step {self.step} ({self.stage})",
            f"{100 * self.spent:.1f} %",
            *(_SHOWN[name].format(value) for name, value in shown.items()),
            f"lr {self.learning_rate:.1e}",
            f"{self.samples_per_s:.1f} samples/s",
            f"{100 * self.wait_share:.0f} % waiting for data",
            f"{self.left_s:.0f} s left",
        ]
        if self.skipped:
            parts.append(f"{self.skipped} steps left out")
        return ", ".join(parts)

    def row(self) -> dict[str, float | str]:
        """Return the numbers as a row of the curves."""
        return {
            "step": self.step,
            "stage": self.stage,
            "elapsed_s": round(self.elapsed_s, 3),
            "learning_rate": self.learning_rate,
            "samples_per_s": self.samples_per_s,
            "wait_share": self.wait_share,
            "skipped": self.skipped,
            **{f"loss/{name}": value for name, value in self.losses.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Means over the held-back examples."""

    score: float
    """What checkpoints are ranked by, higher is better: the mean of ``luma_db`` with each clip's
    no higher than ``CEILING_DB``, or of a VAE ``-bits``."""
    rgb_db: float
    luma_db: float
    """PSNR of the middle frame."""
    detail: float
    """Variance of the Laplacian of luma, divided by that of the clean frames: below 1 is soft."""
    bits: float | None = None
    """Negative ELBO in bits per dimension, of a VAE."""

    def line(self) -> str:
        """Describe it in one line that stands alone."""
        bits = "" if self.bits is None else f", {self.bits:.3f} bits a dimension"
        return (
            f"validation: {self.rgb_db:.2f} dB RGB, {self.luma_db:.2f} dB luma, "
            f"detail {self.detail:.2f}{bits}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Workers have begun to train, or to go on."""

    step: int
    workers: int
    device: str

    def line(self) -> str:
        """Describe it in one line that stands alone."""
        how = f"going on from step {self.step}" if self.step else "beginning"
        return f"{how} with {self.workers} workers on {self.device}"


News = Progress | Score | Begun
"""What a run tells whoever watches it; each has a ``line()``."""
