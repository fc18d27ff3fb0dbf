"""What an evaluation found, and what a person chooses about one: plain values, without torch."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vgen.records import Record

Kind = Literal["still", "video"]

CEILING_DB = 40.0
"""PSNR from which on more does not count where a mean of it decides: beyond it nobody sees a
difference, and a clip that was clean anyway, at up to 100 dB, would outweigh all others."""


class EvaluationSettings(BaseModel):
    """What is scored, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seed: Annotated[int, Field(ge=0)] = 0
    """Decides noise, camera paths and where clips are cut out, together with each file's name."""
    limit: Annotated[int, Field(ge=1)] = 20
    """Most stills, and most clips, that are scored; spread evenly over what is there."""
    only: tuple[str, ...] = ()
    """Names of files to score, as shell patterns; none for all. Of a dataset the held-out part is
    scored, whatever the names."""
    damages: tuple[str, ...] = ()
    """Names of the classes of damage to score; none for all."""
    baseline: bool = True
    """Score classical filters beside the release; most of the time goes there."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Threads of torch."""


class Measures(Record):
    """How far restored frames are from the clean ones; see ``vgen.training.metrics``."""

    psnr_rgb_db: float
    psnr_luma_db: float
    ssim_luma: float
    temporal_difference: float
    """In 8-bit levels; 0 for single frames."""
    warping_error: float
    """Mean square of what changes along the clean motion, RGB in [0, 1]; 0 for single frames."""


class ClassScore(Record):
    """Means over the subjects of one kind under one class of damage."""

    damage: str
    kind: Kind
    subjects: int
    before: Measures
    """Of the input; where a release enlarges, of the bicubic enlargement of the input."""
    after: Measures
    baseline: Measures | None
    """Of the best of the classical filters that were tried."""
    baseline_name: str | None
    """That filter and its parameters, as FFmpeg writes them; or ``bicubic``."""
    clean_warping_error: float
    """What the clean clip itself has: as low as a perfect restoration gets."""

    @property
    def name(self) -> str:
        """Damage and kind, as they are called in sentences."""
        return f"{self.damage} on {'stills' if self.kind == 'still' else 'clips'}"


class RestoreSpeed(Record):
    """How fast the network ran, alone: no decoding, no encoding."""

    frames: int
    frames_per_second: float
    ms_per_frame: float
    megapixels_per_frame: float
    """Of the input, in the mean."""
    machine: str
    device: str
    threads: int
    """Of torch."""


class VaeScore(Record):
    """What makes a variational autoencoder one; means over clips."""

    damage: str | None
    """What was done to the clips; None for an unconditional network."""
    subjects: int
    bits_per_dimension: float
    """The negative evidence lower bound, in bits for each colour value of each pixel."""
    gaussian_bits: float
    """The same of a normal distribution fitted to these clips, or to what the damaged ones lack."""
    kl_per_latent: float
    """KL of posterior and prior, in nats for each latent dimension."""
    active_units: float
    """Share of latent channels in use, 0 to 1."""
    one_sample_db: float | None = None
    """PSNR in RGB of one restoration; None for an unconditional network, as all below."""
    mean_of_samples_db: float | None = None
    """PSNR in RGB of the mean of eight restorations."""
    deviation: float | None = None
    """Standard deviation of restorations, in 8-bit levels."""
    deviation_edges: float | None = None
    """The same on the steepest tenth of the pixels."""
    deviation_flat: float | None = None
    """The same on the flattest quarter of the pixels."""


class LeftOut(Record):
    """Files or clips that were not scored for one reason."""

    reason: str
    names: tuple[str, ...]


class Evaluation(Record):
    """Scores of one release: what ``vgen evaluate --json`` prints."""

    format_version: Literal[1] = 1
    release: str
    release_digest: str
    scale: int
    clips_uri: str
    settings: EvaluationSettings
    code_version: str
    subjects: tuple[str, ...]
    """Names of all that was scored."""
    num_left_out: int
    left_out: tuple[LeftOut, ...]
    scores: tuple[ClassScore, ...]
    """By damage in the order of the classes, stills first."""
    vae: tuple[VaeScore, ...] = ()
    """By damage; of a variational autoencoder only."""
    speed: RestoreSpeed | None
    """None where nothing was restored."""


_HEADINGS = ("damage", "on", "n", "RGB dB", "restored", "classical", "Y dB", "restored",
             "classical", "SSIM", "restored", "classical", "flicker", "restored",
             "warp e-4", "restored", "clean")  # fmt: skip


def as_table(evaluation: Evaluation) -> str:
    """Lay scores out as a Markdown table, one line a class; what was left out stands below."""
    lines = []
    if evaluation.scores:
        lines += [f"| {' | '.join(_HEADINGS)} |", f"|{'---|' * len(_HEADINGS)}"]
        lines += [f"| {' | '.join(_cells(score))} |" for score in evaluation.scores]
    named = [score for score in evaluation.scores if score.baseline_name is not None]
    if named:
        lines.append("\nclassical: " + "; ".join(f"{s.name} {s.baseline_name}" for s in named))
    lines += [_vae_line(score) for score in evaluation.vae]
    speed = evaluation.speed
    if speed is not None:
        lines.append(_speed_line(speed))
    for group in evaluation.left_out:
        lines.append(f"left out, {group.reason}: {len(group.names)} ({_some(group.names)})")
    return "\n".join(lines)


def _speed_line(speed: RestoreSpeed) -> str:
    return (
        f"\n{speed.frames_per_second:.2f} frames/s, {speed.ms_per_frame:.1f} ms a frame of "
        f"{speed.megapixels_per_frame:.3f} megapixels, {speed.machine}, {speed.device}, "
        f"{speed.threads} thread(s)"
    )


def _vae_line(score: VaeScore) -> str:
    line = (
        f"\nbound{f' under {score.damage}' if score.damage else ''}, {score.subjects} clips: "
        f"{score.bits_per_dimension:.3f} bits a dimension (fitted normal distribution "
        f"{score.gaussian_bits:.3f}), KL {score.kl_per_latent:.3f} nat a latent dimension, "
        f"{score.active_units:.0%} of latent channels active"
    )
    if score.one_sample_db is None or score.mean_of_samples_db is None:
        return line
    return (
        f"{line}; one sample {score.one_sample_db:.2f} dB RGB, mean of 8 "
        f"{score.mean_of_samples_db:.2f} dB; samples deviate by {score.deviation:.2f} levels, "
        f"{score.deviation_edges:.2f} on edges, {score.deviation_flat:.2f} on flat areas"
    )


def _cells(score: ClassScore) -> list[str]:
    before, after, base = score.before, score.after, score.baseline
    triples = [
        (f"{before.psnr_rgb_db:.2f}", f"{after.psnr_rgb_db:.2f}", base and base.psnr_rgb_db, 2),
        (f"{before.psnr_luma_db:.2f}", f"{after.psnr_luma_db:.2f}", base and base.psnr_luma_db, 2),
        (f"{before.ssim_luma:.4f}", f"{after.ssim_luma:.4f}", base and base.ssim_luma, 4),
    ]
    cells = [score.damage, score.kind, str(score.subjects)]
    for first, second, third, digits in triples:
        cells += [first, second, "" if third is None else f"{third:.{digits}f}"]
    cells += [f"{before.temporal_difference:.2f}", f"{after.temporal_difference:.2f}"]
    errors = (before.warping_error, after.warping_error, score.clean_warping_error)
    return cells + [f"{1e4 * error:.2f}" for error in errors]


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
