import re

import pytest

from pipelines.plots import HEIGHT, WIDTH, plots_of
from pipelines.report import render_page
from tests.pipelines.test_report import Page, outcome, report_of
from vgen.records import MAX_POINTS, Curves, point_stride

LUMA = tuple((10 * t, 100.0 + t, 104.0) for t in range(9))
PATH = tuple((t, 0.1 * t, 2.0, 0.0, 0.2, 1.0, 0.0) for t in range(9))
CURVES = Curves(shots=(0, 40), luma=LUMA)


def positions(path):
    return [tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_a_line_goes_through_every_value():
    [plot] = plots_of(CURVES)
    assert (plot.title, plot.low, plot.high) == ("luma", "100.0", "108.0")
    wanted = [(WIDTH * t / 8, HEIGHT * (1 - t / 8)) for t in range(9)]
    for got, due in zip(positions(plot.before), wanted, strict=True):
        assert got == pytest.approx(due, abs=0.051)
    assert {y for _, y in positions(plot.after)} == {HEIGHT / 2}


def test_lines_are_broken_at_cuts():
    [plot] = plots_of(CURVES)
    assert plot.cuts == (WIDTH / 2,)
    starts = [float(x) for x in re.findall(r"M([\d.]+)", plot.before)]
    assert starts == [0.0, WIDTH / 2]


def test_what_hardly_changes_is_drawn_flat():
    [plot] = plots_of(Curves(luma=((0, 100.0, 100.0), (1, 100.1, 100.0))))
    assert (plot.low, plot.high) == ("98.0", "102.0")  # rounded: four levels
    assert all(abs(y - HEIGHT / 2) < 2 for _, y in positions(plot.before))


def test_a_path_has_three_plots_and_what_was_not_measured_none():
    titles = [plot.title for plot in plots_of(Curves(path=PATH, luma=LUMA))]
    assert titles == ["luma", "right", "down", "turned"]
    assert plots_of(Curves()) == plots_of(Curves(luma=LUMA[:1], path=PATH[:1])) == ()


@pytest.mark.parametrize("num_frames", [1, 399, 400, 401, 1000, 200_000])
def test_curves_stay_small(num_frames):
    stride = point_stride(num_frames)
    assert 1 <= len(range(0, num_frames, stride)) <= MAX_POINTS
    assert stride == 1 or len(range(0, num_frames, stride - 1)) > MAX_POINTS


def test_the_page_draws_the_curves_of_its_videos():
    videos = [outcome(1), outcome(2), outcome(3, "failed")]
    curves = {"/out/1.mkv": Curves(shots=(0, 4), path=PATH), "/elsewhere.mkv": CURVES}
    page = Page(render_page(report_of(videos), {}, curves))
    assert page.open == []
    assert page.count("svg") == 3
    assert page.count("path") == 6
    assert page.count("line") == 3
    assert "where the camera is" in page.text
    allowed = {"viewBox", "preserveAspectRatio", "role", "aria-label", "class", "d"}
    allowed = {name.lower() for name in allowed} | {"x1", "x2", "y1", "y2"}
    drawn = [attributes for tag, attributes in page.elements if tag in {"svg", "path", "line"}]
    assert all(set(one) <= allowed for one in drawn)
