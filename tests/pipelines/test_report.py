import base64
import io
import json
from html.parser import HTMLParser

import pytest
from rich.console import Console

from pipelines.report import (
    MAX_OPEN_ROWS,
    MAX_STILLS,
    clock_text,
    render_page,
    totals_table,
    visible,
    when_text,
    write_report,
)
from vgen import storage
from vgen.config import Recipe
from vgen.records import Fault, RunReport, Speed, Still, Totals, VideoOutcome

HOSTILE = [
    "/a/<script>alert(1)</script>.mp4",
    "/a/\"onerror=alert(1) 'x' & y.mkv",
    "/a/new\nline\ttab.mov",
    "/a/\u202egnp.exe\u202c.mp4",
    "/a/\u0645\u0631\u062d\u0628\u0627.mp4",
    f"s3://bucket/{'x' * 300}.mp4",
    "/a/{{ 7 * 7 }}{% raw %}.mp4",
    "/a/javascript:alert(1)",
]


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text between them."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open[-1:] != ["style"]:
            self.text += text

    def count(self, tag, **attributes):
        return sum(
            name == tag and all(found.get(key) == value for key, value in attributes.items())
            for name, found in self.elements
        )


def outcome(number, status="done", uri=None, **changes):
    fault = Fault(stage="decode", kind="DecodeError", message=f"cut short, number {number}")
    return VideoOutcome(
        source_uri=uri or f"/archive/clip_{number:04d}.mp4",
        output_uri=f"/out/{number}.mkv" if status != "failed" else "",
        status=status,
        frames=250,
        duration_s=10.0,
        error=fault if status == "failed" else None,
        **changes,
    )


def report_of(videos, **changes):
    def count(status):
        return sum(video.status == status for video in videos)

    values = {
        "run_id": "20260102T030405Z-0123abcd",
        "release": "restore-tiny",
        "release_digest": "d" * 64,
        "recipe": Recipe().model_dump(mode="json"),
        "recipe_digest": "e" * 64,
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T05:05:06+01:00",
        "totals": Totals(
            listed=len(videos),
            done=count("done"),
            skipped=count("skipped"),
            failed=count("failed"),
            frames=1234567,
            source_seconds=4000.0,
        ),
        "speed": Speed(frames_per_second=12.5, stage_cpu_seconds={"decode": 25.0, "enhance": 75.0}),
        "videos": tuple(videos),
    }
    return RunReport(**{**values, **changes})


def still(change=1.0):
    content = base64.b64encode(b"\xff\xd8\xff").decode()
    return Still(pts=3, change=change, before_jpeg=content, after_jpeg=content)


@pytest.mark.parametrize("num_videos", [0, 1, 3, 500])
def test_every_video_is_on_the_page_once(num_videos):
    statuses = ["done", "failed", "skipped"]
    videos = [outcome(number, statuses[number % 3]) for number in range(num_videos)]
    page = Page(render_page(report_of(videos), {}))
    assert page.open == []
    for video in videos:
        # A video is called by its name, and named in full with its source.
        assert page.text.count(video.source_uri.removeprefix("/archive/")) == 2
    for title, status in (("Enhanced", "done"), ("Failed", "failed"), ("Already done", "skipped")):
        assert (f"{title} " in page.text) == any(video.status == status for video in videos)
    assert ("No videos were listed" in page.text) == (num_videos == 0)


def test_failures_come_first_and_say_why():
    text = Page(render_page(report_of([outcome(1), outcome(2, "failed")]), {})).text
    assert text.index("cut short, number 2") < text.index("clip_0001.mp4")
    assert "DecodeError" in text


def test_totals_speed_and_recipe_are_on_the_page():
    text = Page(render_page(report_of([outcome(1)]), {})).text
    for part in ("1,234,567", "12.50", "1:06:40", "1:01:01", "25 %", "75 %", "encode.crf", "18"):
        assert part in text
    assert "2026-01-02 03:04:05 UTC to 2026-01-02 04:05:06 UTC" in text
    assert "restore-tiny" in text


def test_notes_and_what_was_not_carried_are_told():
    videos = [outcome(1, notes=("a note <b>",), dropped=("subtitle 1 (dvd_subtitle)",))]
    page = Page(render_page(report_of(videos), {}))
    assert "a note <b>" in page.text
    assert "subtitle 1 (dvd_subtitle)" in page.text
    assert page.count("b") == 8  # only the page's own: one a total


@pytest.mark.parametrize("uri", HOSTILE)
@pytest.mark.parametrize("status", ["done", "failed"])
def test_a_hostile_name_is_text_and_nothing_else(uri, status):
    plain = Page(render_page(report_of([outcome(1, status)]), {}))
    video = outcome(1, status, uri=uri)
    if video.error is not None:
        video = video.model_copy(update={"error": video.error.model_copy(update={"message": uri})})
    page = Page(render_page(report_of([video], release=uri, run_id=uri), {}))
    assert page.elements == plain.elements
    assert visible(uri) in page.text


def test_a_hostile_still_stays_in_its_attribute():
    evil = Still(pts=0, change=0.0, before_jpeg='"><script>x</script>', after_jpeg="' onerror='x")
    page = Page(render_page(report_of([outcome(1)]), {"/out/1.mkv": evil}))
    assert page.count("script") == 0
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert [set(image) for image in images] == [{"loading", "alt", "src"}] * 2
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in images)


def test_the_page_loads_and_runs_nothing():
    page = Page(render_page(report_of([outcome(1)]), {"/out/1.mkv": still()}))
    assert {tag for tag, _ in page.elements} == {
        "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "div", "b",
        "span", "section", "details", "summary", "bdi", "figure", "img", "figcaption", "dl", "dt",
        "dd", "table", "tr", "th", "td",
    }  # fmt: skip
    linking = {"href", "src", "srcset", "action", "background", "poster", "data"}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in linking & set(attributes):
            assert attributes[name].startswith("data:image/jpeg;base64,")
    policy = [a["content"] for _, a in page.elements if a.get("http-equiv")]
    assert len(policy) == 1
    assert {rule.strip() for rule in policy[0].split(";")} == {
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    }


def test_stills_are_shown_in_pairs_and_lazily():
    page = Page(render_page(report_of([outcome(1), outcome(2)]), {"/out/1.mkv": still(3.25)}))
    assert page.count("img", loading="lazy", alt="before") == 1
    assert page.count("img", loading="lazy", alt="after") == 1
    assert "3.2 of 255 levels" in page.text


def test_the_most_changed_stills_are_kept_and_the_rest_is_said():
    videos = [outcome(number) for number in range(MAX_STILLS + 20)]
    stills = {video.output_uri: still(float(number)) for number, video in enumerate(videos)}
    page = Page(render_page(report_of(videos), stills))
    assert page.count("img", alt="before") == MAX_STILLS
    assert f"stills of the {MAX_STILLS} that changed most, of {MAX_STILLS + 20}" in page.text
    assert "where it changed most: 19.0 of" not in page.text
    assert "where it changed most: 20.0 of" in page.text


def test_long_lists_are_folded():
    short = Page(render_page(report_of([outcome(n) for n in range(MAX_OPEN_ROWS)]), {}))
    long = Page(render_page(report_of([outcome(n) for n in range(MAX_OPEN_ROWS + 3)]), {}))
    assert "3 more" not in short.text
    assert "3 more" in long.text


def test_the_report_is_written_as_json_and_page(tmp_path):
    report = report_of([outcome(1), outcome(2, "failed")])
    report_uri, page_uri = write_report(str(tmp_path), report, {"/out/1.mkv": still()})
    assert report_uri == f"{tmp_path}/_vgen/runs/{report.run_id}/report.json"
    assert page_uri == f"{tmp_path}/_vgen/runs/{report.run_id}/report.html"
    assert RunReport.model_validate_json(storage.read_bytes(report_uri)) == report
    assert json.loads(storage.read_bytes(report_uri))["totals"]["listed"] == 2
    assert storage.read_bytes(page_uri).decode() == render_page(report, {"/out/1.mkv": still()})


def test_the_table_says_the_totals():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(totals_table(report_of([outcome(1), outcome(2, "failed")])))
    rows = [line.split() for line in console.export_text().splitlines()]
    words = [[word for word in row if word.isalnum() or "," in word or ":" in word] for row in rows]
    for row in (["listed", "2"], ["done", "1"], ["failed", "1"], ["frames", "1,234,567"]):
        assert row in words
    assert ["video", "1:06:40"] in words


def test_a_run_id_in_brackets_is_no_markup():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(totals_table(report_of([], run_id="[red]x[/red]")))
    assert "[red]x[/red]" in console.export_text()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (59.94, "59.9 s"), (60, "1:00"), (3599.6, "1:00:00"), (90061, "25:01:01")],
)
def test_durations_read_as_on_a_clock(seconds, text):
    assert clock_text(seconds) == text


def test_what_would_print_as_nothing_is_written_out():
    assert visible("a\u202eb\n\x00\u200f\ud800") == "a\\u202eb\\n\\x00\\u200f\\ud800"
    assert visible("caf\u00e9 \u65e5\u672c \u0645") == "caf\u00e9 \u65e5\u672c \u0645"


def test_times_are_shown_in_utc():
    assert when_text("2026-01-02T03:04:05+05:00") == "2026-01-01 22:04:05 UTC"
