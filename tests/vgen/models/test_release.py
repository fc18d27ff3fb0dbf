import hashlib
import json
import pickle
import struct
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgen.errors import ReleaseError
from vgen.models.generator import TemporalUNet
from vgen.models.ladder import new_vae
from vgen.models.release import (
    IDENTITY,
    IDENTITY_DIGEST,
    MAX_HEADER_BYTES,
    bundled_releases,
    check_restores,
    load_network,
    read_header,
    release_digest,
    save_release,
)
from vgen.models.unet_settings import UNetSettings, unet_spec
from vgen.models.vae_settings import VaeSettings, vae_spec

SETTINGS = UNetSettings(window=3, channels=4, encoder=(1, 1, 1), decoder=(1, 1))


def network():
    torch.manual_seed(0)
    made = TemporalUNet(SETTINGS)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.05)
    return made


def save(path, made=None, **changes):
    arguments = {
        "name": "small-1",
        "network": made or network(),
        "spec": unet_spec(SETTINGS),
        "settings": SETTINGS.to_mapping(),
        "provenance": {"data": "none", "scores": {"psnr_db": 30.5}},
    }
    save_release(path, **(arguments | changes))
    return path


def rewritten(path, change):
    """Write the release again with ``change`` applied to its decoded header."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    document = json.loads(header["__metadata__"]["vgen"])
    change(header, document)
    if "__metadata__" in header:
        header["__metadata__"]["vgen"] = json.dumps(document)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    return path


VAES = {
    "conditional_vae": VaeSettings(widths=(4, 6), latents=2),
    "unconditional_vae": VaeSettings(
        widths=(4, 6), latents=2, latent_levels=2, temporal_stride=2, is_conditional=False
    ),
}


def save_vae(path, chosen, **changes):
    made = new_vae(chosen)
    changes = {"spec": vae_spec(chosen), "settings": chosen.to_mapping()} | changes
    return made, save(path, made, **changes)


@pytest.fixture
def release(tmp_path):
    return save(tmp_path / "small.safetensors")


def test_a_saved_network_loads_as_the_same_function(release):
    header, loaded = load_network(release)
    window_ntchw = torch.rand(1, 3, 3, 16, 16)
    torch.testing.assert_close(loaded(window_ntchw), network()(window_ntchw), rtol=0, atol=1e-5)
    assert header == read_header(release)
    assert header.spec == unet_spec(SETTINGS)
    assert header.provenance["scores"] == {"psnr_db": 30.5}


def test_a_loaded_network_is_ready_to_run_and_not_to_train(release):
    _, loaded = load_network(release)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_half_precision_halves_the_file_and_runs_in_float32(tmp_path, release):
    half = save(tmp_path / "half.safetensors", is_half=True)
    _, loaded = load_network(half)
    assert half.stat().st_size < 0.75 * release.stat().st_size
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    window_ntchw = torch.rand(1, 3, 3, 16, 16)
    torch.testing.assert_close(loaded(window_ntchw), network()(window_ntchw), rtol=0, atol=1e-3)


@pytest.mark.parametrize("architecture", VAES)
@pytest.mark.parametrize("is_half", [False, True])
def test_an_autoencoder_loads_as_the_same_function(tmp_path, architecture, is_half):
    chosen = VAES[architecture]
    made, path = save_vae(tmp_path / "v.safetensors", chosen, is_half=is_half)
    header, loaded = load_network(path)
    assert (header.spec.architecture, header.spec) == (architecture, vae_spec(chosen))
    assert loaded.settings == chosen
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in loaded.parameters())
    clean = torch.rand(1, 2, 3, 8, 8)
    seen = clean + 0.1 if chosen.is_conditional else None
    noise = [torch.randn(shape) for shape in made.latent_shapes(clean.shape)]
    was, now = made(clean, seen, noise), loaded(clean, seen, noise)
    tolerance = 1e-2 if is_half else 0
    torch.testing.assert_close(now.frames_ntchw, was.frames_ntchw, rtol=0, atol=tolerance)
    for one, other in zip(now.posterior + now.prior, was.posterior + was.prior, strict=True):
        torch.testing.assert_close(one.mean, other.mean, rtol=0, atol=tolerance)


def named(path):
    header = read_header(path)
    return header.name, header.spec


def test_what_restores_is_told_by_the_header(tmp_path, release):
    check_restores(*named(release))
    check_restores(IDENTITY.name, IDENTITY.spec)
    _, path = save_vae(tmp_path / "v.safetensors", VAES["conditional_vae"])
    check_restores(*named(path))
    _, path = save_vae(tmp_path / "u.safetensors", VAES["unconditional_vae"])
    with pytest.raises(ReleaseError, match="'small-1' makes clips up and cannot restore any"):
        check_restores(*named(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, d: d["settings"].update(is_conditional=False), "does not follow from its"),
        (lambda h, d: d["settings"].update(widths=[4, 8]), "missing, unknown or misshaped"),
        (lambda h, d: d["settings"].update(widths=[4, 512, 512, 512, 512, 512]), "v.safetensors"),
        (lambda h, d: d["settings"].update(blocks=8, widths=[4] * 6), "lead is 116, outside"),
        (lambda h, d: d["settings"].update(window=3), "'window' is missing or unknown"),
        (lambda h, d: h.pop("log_scale"), "'log_scale' is missing"),
    ],
)
def test_an_autoencoder_that_does_not_fit_is_refused(tmp_path, change, message):
    _, path = save_vae(tmp_path / "v.safetensors", VAES["conditional_vae"])
    with pytest.raises(ReleaseError, match=message):
        load_network(rewritten(path, change))


def test_the_same_arguments_give_the_same_bytes(tmp_path, release):
    assert save(tmp_path / "again.safetensors").read_bytes() == release.read_bytes()


def test_saving_leaves_nothing_beside_the_release(tmp_path, release):
    assert [path.name for path in tmp_path.iterdir()] == [release.name]


def test_a_release_is_as_readable_as_any_other_file(tmp_path, release):
    other = tmp_path / "other"
    other.touch()
    assert release.stat().st_mode == other.stat().st_mode


def test_reading_headers_imports_no_torch(release):
    program = (
        "import sys; from pathlib import Path; from vgen.models import release;"
        f"print(release.read_header(Path({str(release)!r})).name);"
        "release.bundled_releases();"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "small-1\n", done.stderr


def test_a_header_crosses_process_borders(release):
    header = read_header(release)
    assert pickle.loads(pickle.dumps(header)) == header  # noqa: S301 our own bytes


def test_the_digest_is_the_sha256_of_the_file(release):
    assert release_digest(release) == hashlib.sha256(release.read_bytes()).hexdigest()


def test_identity_has_a_digest_and_no_file(tmp_path):
    assert release_digest(tmp_path.__class__("identity")) == IDENTITY_DIGEST
    assert IDENTITY.spec.lead == IDENTITY.spec.tail == 0
    assert "identity" not in bundled_releases()


def test_the_bundled_releases_load_under_their_own_names():
    assert "restore-tiny" in bundled_releases()
    for name, path in bundled_releases().items():
        header, loaded = load_network(path)
        assert header.name == name
        assert path.stat().st_size <= (1_000_000 if name.endswith("-tiny") else 8_000_000)
        assert all(weight.isfinite().all() for weight in loaded.parameters())
        assert path.with_suffix(".md").exists()


def set_key(key, value):
    return lambda header, document: document.update({key: value})


def set_spec(key, value):
    return lambda header, document: document["spec"].update({key: value})


def set_tensor(key, value):
    return lambda header, document: header["head.weight"].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, d: h.pop("__metadata__"), "not a vgen release"),
        (set_key("format", 2), "release format 2 is not 1"),
        (set_key("surprise", 1), "'surprise' is missing or unknown"),
        (lambda h, d: d.pop("provenance"), "'provenance' is missing or unknown"),
        (set_key("provenance", []), "'provenance' must be an object"),
        (set_key("settings", 3), "'settings' must be an object"),
        (set_key("settings", {"window": {}}), "setting 'window' is"),
        (set_key("name", "../evil"), "may hold letters"),
        (set_key("name", ""), "must be 1 to 100"),
        (set_key("name", 5), "must be 1 to 100"),
        (set_spec("scale", 3), "scale 3 is not one of"),
        (set_spec("lead", "1"), "lead is '1'"),
        (set_tensor("dtype", "I64"), "is 'I64', not one of F32, F16"),
        (set_tensor("shape", [-1, 3]), "no usable shape"),
        (set_tensor("shape", None), "no usable shape"),
        (set_tensor("shape", [1 << 62]), "no usable shape"),
        (set_tensor("shape", [5]), "does not lie inside the file"),
        (set_tensor("data_offsets", [0]), "no usable shape and offsets"),
    ],
)
def test_a_header_that_is_wrong_is_refused_with_its_reason(release, change, message):
    rewritten(release, change)
    with pytest.raises(ReleaseError, match=f"small.safetensors: .*{message}"):
        read_header(release)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_spec("receptive_radius", 1), "does not follow from its settings"),
        (set_key("settings", {}), "is missing or unknown"),
        (lambda h, d: d["settings"].update(channels=8), "missing, unknown or misshaped"),
        (lambda h, d: h.pop("tail.bias"), "'tail.bias' is missing"),
        (lambda h, d: d.update(spec=json.loads(IDENTITY.spec.to_json())), "no network to load"),
    ],
)
def test_weights_that_do_not_fit_are_refused(release, change, message):
    rewritten(release, change)
    with pytest.raises(ReleaseError, match=message):
        load_network(release)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, release):
    broken = network()
    with torch.no_grad():
        broken.tail.bias[0] = float("nan")
    with pytest.raises(ReleaseError, match=r"'tail\.bias' holds values that are not finite"):
        save(tmp_path / "broken.safetensors", broken)
    raw = bytearray(release.read_bytes())
    raw[-4:] = struct.pack("<f", float("inf"))
    release.write_bytes(raw)
    with pytest.raises(ReleaseError, match="not finite"):
        load_network(release)


def test_provenance_that_is_not_json_is_refused(tmp_path):
    with pytest.raises(ReleaseError, match="is not JSON"):
        save(tmp_path / "x.safetensors", provenance={"path": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path):
    for read in (read_header, load_network, release_digest):
        with pytest.raises(ReleaseError, match=r"cannot read release .*gone.*No such file"):
            read(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        b"\xff" * 64,
        struct.pack("<Q", MAX_HEADER_BYTES + 1) + b" " * (MAX_HEADER_BYTES + 2),
        pickle.dumps({"weights": [1, 2, 3]}),
        b"PK\x03\x04" + b"\x00" * 100,
    ],
)
def test_a_file_that_is_no_safetensors_is_refused(tmp_path, raw):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ReleaseError, match=r"odd\.safetensors"):
        read_header(path)


@pytest.mark.parametrize(
    "header",
    [b"[]", b"{", b"[" * 100_000, b'{"__metadata__": {"vgen": "["}}', b'{"a": NaN}', b"\xff\xfe"],
)
def test_a_header_that_is_no_json_object_is_refused(tmp_path, header):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ReleaseError, match="JSON"):
        read_header(path)


def test_a_release_cut_short_anywhere_is_refused(release):
    raw = release.read_bytes()
    for stop in range(0, len(raw), max(1, len(raw) // 50)):
        release.write_bytes(raw[:stop])
        with pytest.raises(ReleaseError):
            read_header(release)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_anywhere_loads_or_is_refused_but_never_escapes(release, data):
    raw = bytearray(release.read_bytes())
    length = struct.unpack("<Q", raw[:8])[0]
    position = data.draw(st.integers(0, 8 + length - 1))
    raw[position] = data.draw(st.integers(0, 255))
    damaged = release.with_name("damaged.safetensors")
    damaged.write_bytes(raw)
    # Any other exception fails the test, and so does damage that crashes the interpreter.
    with suppress(ReleaseError):
        load_network(damaged)
