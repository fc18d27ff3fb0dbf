import subprocess

import numpy as np
import pytest
import torch

from tests.media_factory import FFMPEG
from vgen.errors import ConfigError
from vgen.post.lut import MAX_SIZE, parse_cube


def cube(size, rng, head=""):
    rows = rng.random((size**3, 3))
    lines = [" ".join(f"{value:.6f}" for value in row) for row in rows]
    return "\n".join([f'TITLE "x"\n# comment\nLUT_3D_SIZE {size}', head, *lines]), rows


def test_a_table_gives_what_the_ffmpeg_program_gives(tmp_path):
    rng = np.random.default_rng(0)
    text, _ = cube(5, rng)
    (tmp_path / "x.cube").write_text(text)
    picture = rng.integers(0, 256, (16, 24, 3), np.uint8)
    oracle = subprocess.run(
        [FFMPEG, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "24x16", "-i", "-"]
        + ["-vf", "lut3d=x.cube:interp=trilinear", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        input=picture.tobytes(), capture_output=True, check=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    expected = np.frombuffer(oracle, np.uint8).reshape(16, 24, 3)
    frame = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    out = parse_cube(text, uri="x.cube").apply(frame)[0].permute(1, 2, 0).numpy() * 255
    # The program cuts off where it rounds to bytes.
    assert np.abs(out - expected).max() <= 1.01


def test_red_runs_fastest_and_the_domain_is_kept():
    text, rows = cube(3, np.random.default_rng(1), "DOMAIN_MIN 0 0 0\nDOMAIN_MAX 0.5 1 2")
    lut = parse_cube(text, uri="x.cube")
    at = torch.tensor([[0.25, 1.0, 0.0], [0.5, 0.5, 1.0]])
    out = lut.apply(at.T[None, :, None])[0, :, 0].T.numpy()
    assert out == pytest.approx(rows[[1 + 3 * 2 + 9 * 0, 2 + 3 * 1 + 9 * 1]], abs=1e-5)


def test_an_input_range_stands_for_the_domain():
    text, rows = cube(2, np.random.default_rng(2), "LUT_3D_INPUT_RANGE 0.0 0.5")
    out = parse_cube(text, uri="x.cube").apply(torch.full((1, 3, 1, 1), 0.5))
    assert out.flatten().numpy() == pytest.approx(rows[-1], abs=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 1", "line 1: expected a 3-D table, got 'LUT_1D_SIZE'"),
        ("LUT_3D_SIZE 2\n0 0 0", "expected LUT_3D_SIZE cubed = 8 rows, got 1"),
        ("0 0 0", "more than LUT_3D_SIZE 0 cubed rows"),
        ("", "expected LUT_3D_SIZE cubed = 0 rows, got 0"),
        ("LUT_3D_SIZE 2\n" + "0 0 0\n" * 9, "line 10: more than LUT_3D_SIZE 2 cubed rows"),
        (f"LUT_3D_SIZE {MAX_SIZE + 1}", "expected LUT_3D_SIZE 2 to 128, got"),
        ("LUT_3D_SIZE two", "expected LUT_3D_SIZE 2 to 128, got"),
        ("LUT_3D_SIZE 2\n0 0 zero", "line 2: expected three numbers"),
        ("LUT_3D_SIZE 2\n0 0 nan", "line 2: expected three finite numbers"),
        ("LUT_3D_SIZE 2\n0 0", "line 2: expected three finite numbers"),
        ("LUT_3D_SIZE 2\nDOMAIN_MIN 1 0 0\n" + "0 0 0\n" * 8, "is not below DOMAIN_MAX"),
    ],
)
def test_a_file_that_is_no_table_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_cube(text, uri="bad.cube")
