import json
import re
import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from pipelines.cli import main
from pipelines.generate import PAGE_COLUMNS, Order, parse_size
from tests.pipelines.shelves import make_dream, make_toy
from vgen import storage
from vgen.errors import ConfigError
from vgen.models.release import load_network
from vgen.models.sampling import sample_clip

FLAGS = ("--size", "48x32", "--device", "cpu", "--json")


@pytest.fixture(scope="module")
def dream(tmp_path_factory):
    return make_dream(tmp_path_factory.mktemp("dream") / "dream.safetensors")


def generated(capsys, dream, output, *more, count=3, frames=10):
    order = ("--count", str(count), "--frames", str(frames))
    assert main(["generate", str(dream), str(output), *FLAGS, *order, *more]) == 0
    return json.loads(capsys.readouterr().out)


def decoded(path, width=48, height=32):
    """All frames, by an independent program."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-sws_flags",
        "accurate_rnd+full_chroma_int", "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(made, np.uint8).reshape(-1, height, width, 3)


def test_videos_and_a_page_are_written(dream, tmp_path, capsys):
    found = generated(capsys, dream, tmp_path, "--crf", "0", "--seed", "7")
    stem = Path(found["page"]).stem
    assert re.fullmatch(r"dream-7-[0-9a-f]{8}", stem)
    names = [f"{stem}-{number:04d}.mp4" for number in range(3)]
    assert found["videos"] == [str(tmp_path / name) for name in names]
    assert {path.name for path in tmp_path.iterdir()} == {*names, f"{stem}.png"}
    _, network = load_network(dream)
    for index, path in enumerate(found["videos"]):
        pieces = sample_clip(network, frames=10, height=32, width=48, seed=7, index=index)
        drawn = np.concatenate([piece.clamp(0, 1).movedim(1, -1).numpy() for piece in pieces])
        shown = decoded(path)
        assert len(shown) == 10
        # Half the chroma each way: luma, and colours in the mean, are what can be compared.
        weights = np.array([0.2126, 0.7152, 0.0722])
        assert np.abs(shown @ weights - 255 * drawn @ weights).mean() < 2
        assert np.abs(shown.mean((0, 1, 2)) - 255 * drawn.mean((0, 1, 2))).max() < 2
    assert found["closest_levels"] > 0.5
    assert found["spectrum_slope"] is None  # too small to tell
    page = cv2.imread(found["page"])
    assert page.shape == (3 * 32, PAGE_COLUMNS * 48, 3)
    first = 255 * next(sample_clip(network, frames=10, height=32, width=48, seed=7, index=0))[0]
    first_hwc = first.clamp(0, 255).movedim(0, -1).numpy()
    assert np.abs(page[:32, :48, ::-1] - first_hwc).max() <= 0.51


def test_the_same_seed_gives_the_same_files_and_no_two_clips_are_alike(dream, tmp_path, capsys):
    first = generated(capsys, dream, tmp_path / "a")
    again = generated(capsys, dream, tmp_path / "b")
    other = generated(capsys, dream, tmp_path / "c", "--seed", "1")
    bytes_of = [
        [Path(path).read_bytes() for path in (*found["videos"], found["page"])]
        for found in (first, again, other)
    ]
    assert bytes_of[0] == bytes_of[1]
    assert len(set(bytes_of[0][:3] + bytes_of[2][:3])) == 6


def test_another_order_of_the_same_seed_writes_beside(dream, tmp_path, capsys):
    orders = [(), ("--crf", "30"), ("--rate", "5")]
    made = [generated(capsys, dream, tmp_path, *order, count=1, frames=2) for order in orders]
    made.append(generated(capsys, dream, tmp_path, count=1, frames=3))
    more = generated(capsys, dream, tmp_path, count=2, frames=2)
    assert more["videos"][:1] == made[0]["videos"], "more clips of an order go on from those"
    assert len(list(tmp_path.glob("*.mp4"))) == len(made) + 1
    assert len(list(tmp_path.glob("*.png"))) == len(made)


def test_a_bucket_takes_the_clips(dream, s3, capsys):
    found = generated(capsys, dream, f"{s3.bucket}/dreams", count=1)
    (video,) = found["videos"]
    assert found["page"] == video.replace("-0000.mp4", ".png")
    assert video.startswith(f"{s3.bucket}/dreams/dream-0-")
    assert len(decoded(s3.root / "bucket" / "dreams" / storage.name_of(video))) == 10


def test_one_frame_is_a_clip_too(dream, tmp_path, capsys):
    found = generated(capsys, dream, tmp_path, count=1, frames=1)
    assert len(decoded(found["videos"][0])) == 1
    assert cv2.imread(found["page"]).shape == (32, 48, 3)


@pytest.mark.parametrize("name", ["restore-tiny", "identity", "toy"])
def test_what_makes_nothing_up_is_refused(name, tmp_path, capsys):
    asked = name if name != "toy" else str(make_toy(tmp_path / "toy.safetensors"))
    assert main(["generate", asked, str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "which makes no clips up; name one of architecture unconditional_vae" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clips": 0}, "expected 1 to 10000 clips of 1 to 10000 frames, got 0 of 8"),
        ({"frames": 0}, "got 1 of 0"),
        ({"width": 33}, "sides must be even and 16 to 4096 pixels, got 33x32"),
        ({"height": 4098}, "got 32x4098"),
        ({"rate": 0}, "got 0, 12 and 0"),
        ({"crf": 52}, "got 25, 52 and 0"),
        ({"seed": -1}, "got 25, 12 and -1"),
    ],
)
def test_an_order_out_of_range_is_refused(changes, says):
    order = {
        "clips": 1, "frames": 8, "width": 32, "height": 32, "rate": 25, "crf": 12, "seed": 0
    }  # fmt: skip
    with pytest.raises(ConfigError, match=says):
        Order(**(order | changes))


def test_a_size_is_read_or_refused():
    assert parse_size("128x96") == (128, 96)
    for text in ("128", "128x", "axb", "-1x5", "128x96x3", "99999x1"):
        with pytest.raises(ConfigError, match="a size is WIDTHxHEIGHT"):
            parse_size(text)


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("cuda:99", "torch finds no CUDA device"),
        ("quantum", "a device is cpu, cuda, cuda:N or auto"),
    ],
)
def test_a_device_that_is_not_there_is_refused(dream, tmp_path, capsys, device, says):
    assert main(["generate", str(dream), str(tmp_path / "out"), "--device", device]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert device in said
