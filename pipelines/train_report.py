"""The page of a training run: its curves and samples, made from what lies in its folder."""

import base64
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipelines.train import PAGE
from vgen import storage
from vgen.training.journal import PICTURES, read_curves
from vgen.training.settings import TrainSettings

MAX_PICTURES = 3
MAX_POINTS = 600
"""Of a line: more than a screen shows."""

WIDTH, HEIGHT, MARGIN = 460, 200, 44

# As the journal names them; people put other files beside these.
_PICTURE = re.compile(r"\d{8}\.png")

PANELS: Mapping[str, Sequence[str]] = {
    "PSNR, dB": ("loss/psnr_db", "validation/luma_db", "validation/rgb_db"),
    "loss": ("loss/total",),
    "bits a dimension": ("loss/bits", "validation/bits"),
    "KL, nats a pixel": ("loss/kl",),
    "accuracy of the critics": ("loss/image_accuracy", "loss/temporal_accuracy"),
    "detail, restored to clean": ("validation/detail",),
    "learning rate": ("learning_rate",),
    "samples a second": ("samples_per_s",),
    "share of time waiting for data": ("wait_share",),
}
"""What is drawn together; what a run does not have is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve, ready to be drawn."""

    name: str
    points: str
    """Of an SVG polyline."""
    last: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A chart over steps."""

    title: str
    lines: tuple[Line, ...]
    low: float
    high: float
    last_step: int


def write_page(run_uri: str, settings: TrainSettings) -> str:
    """Write the page of a run and return its URI.

    Raises:
        StorageError: curves or pictures cannot be read, or the page not be written.
    """
    rows = read_curves(run_uri)
    found = storage.list_objects(storage.join(run_uri, PICTURES), max_depth=1)
    pictures = [one for one in found if _PICTURE.fullmatch(storage.name_of(one.uri))]
    chosen = pictures[-MAX_PICTURES:]
    environment = Environment(
        loader=PackageLoader("pipelines", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("train_report.html.j2").render(
        settings=settings,
        last=rows[-1] if rows else None,
        panels=draw_panels(rows),
        size=(WIDTH, HEIGHT, MARGIN),
        pictures=[(int(storage.name_of(one.uri)[:8]), _embedded(one.uri)) for one in chosen],
        recipe=settings.model_dump_json(indent=2, exclude_defaults=True),
    )
    uri = storage.join(run_uri, PAGE)
    storage.write_bytes(uri, page.encode())
    return uri


def draw_panels(rows: Sequence[Mapping[str, float | str]]) -> list[Panel]:
    """Return the charts that there are numbers for."""
    panels = []
    for title, names in PANELS.items():
        curves = {name: _curve(rows, name) for name in names}
        curves = {name: curve for name, curve in curves.items() if curve}
        if not curves:
            continue
        values = [value for curve in curves.values() for _, value in curve]
        low, high = min(values), max(values)
        last_step = max(step for curve in curves.values() for step, _ in curve)
        lines = tuple(
            Line(
                name=name.removeprefix("loss/"),
                points=_points(curve, low, high, last_step),
                last=curve[-1][1],
            )
            for name, curve in curves.items()
        )
        panels.append(Panel(title=title, lines=lines, low=low, high=high, last_step=last_step))
    return panels


def _curve(rows: Sequence[Mapping[str, float | str]], name: str) -> list[tuple[int, float]]:
    told = [(int(row["step"]), float(row[name])) for row in rows if name in row]
    # A single NaN, as of a step that was left out, would make bounds of the whole panel NaN.
    found = [(step, value) for step, value in told if math.isfinite(value)]
    return list(itertools.islice(found, None, None, -(-len(found) // MAX_POINTS) or 1))


def _points(curve: list[tuple[int, float]], low: float, high: float, last_step: int) -> str:
    across = (WIDTH - 2 * MARGIN) / max(1, last_step)
    up = (HEIGHT - 2 * MARGIN) / ((high - low) or 1)
    return " ".join(
        f"{MARGIN + step * across:.1f},{HEIGHT - MARGIN - (value - low) * up:.1f}"
        for step, value in curve
    )


def _embedded(uri: str) -> str:
    return f"data:image/png;base64,{base64.b64encode(storage.read_bytes(uri)).decode()}"
