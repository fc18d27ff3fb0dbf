"""A chunk object is whole, or it is refused."""

import io
import json
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chunked import moving_frames, planned, sealed_chunk
from vgen.errors import StorageError
from vgen.media import chunk
from vgen.records import ChunkFacts, Still

FACTS = ChunkFacts(
    start=40,
    stop=44,
    frame_pts=(100, 103, 104, 110),
    packet_pts=(100, 104, 103, 110),
    num_missing=1,
    notes=("a note",),
    stage_cpu_seconds={"encode": 0.5},
    still=Still(pts=103, change=1.5, before_jpeg="AA==", after_jpeg="BB=="),
)
MEDIA = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def sealed(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("chunk") / "chunk"
    path.write_bytes(MEDIA)
    chunk.seal(path, FACTS)
    return path.read_bytes()


def with_footer(text: bytes, media: bytes = b"") -> io.BytesIO:
    return io.BytesIO(media + text + len(text).to_bytes(8, "little") + b"vgenchk1")


def test_facts_come_back_as_they_were_sealed(sealed):
    assert chunk.read_facts(io.BytesIO(sealed)) == FACTS


def test_facts_are_read_from_the_end_alone(sealed):
    class Counted(io.BytesIO):
        num_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            block = super().read(size)
            Counted.num_bytes += len(block)
            return block

    chunk.read_facts(Counted(sealed))
    assert Counted.num_bytes == len(sealed) - len(MEDIA)


def test_the_media_reader_shows_the_media_and_nothing_else(sealed):
    file = io.BytesIO(sealed)
    with chunk.media_reader(file) as media:
        assert media.read() == MEDIA
        assert media.seek(-3, io.SEEK_END) == len(MEDIA) - 3
        assert media.read(100) == MEDIA[-3:]
        assert media.seek(10) == 10
        assert media.seek(5, io.SEEK_CUR) == 15
        assert media.read(4) == MEDIA[15:19]
        assert media.seek(len(MEDIA) + 50) == len(MEDIA) + 50
        assert media.read(1) == b""
    assert file.closed


def test_a_distant_object_is_fetched_once(sealed):
    class Distant(io.BytesIO):
        num_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            block = super().read(size)
            Distant.num_bytes += len(block)
            return block

    file = Distant(sealed)
    with chunk.checked_media(file) as media:
        assert media.read() == MEDIA
        media.seek(7)
        assert media.read(5) == MEDIA[7:12]
    assert file.closed
    assert Distant.num_bytes == len(sealed)


def test_a_local_file_is_checked_and_read_in_place(sealed, tmp_path):
    path = tmp_path / "chunk"
    path.write_bytes(sealed)
    with chunk.checked_media(path.open("rb")) as media:
        assert media.read() == MEDIA
    damaged = bytearray(sealed)
    damaged[0] ^= 1
    path.write_bytes(damaged)
    with path.open("rb") as file, pytest.raises(StorageError, match="chunk was damaged after"):
        chunk.checked_media(file)


def test_a_sealed_chunk_plays(tmp_path):
    plan = planned("h264")
    one = sealed_chunk(moving_frames(plan, range(12)), plan, tmp_path / "chunk")
    with av.open(chunk.media_reader(one.open())) as container:
        assert len(list(container.decode(video=0))) == 12


def test_a_chunk_without_frames_is_a_chunk(tmp_path):
    one = sealed_chunk((), planned(), tmp_path / "chunk", start=3, stop=5)
    assert one.facts.frame_pts == ()
    with one.open() as file:
        assert chunk.media_reader(file).read() == b""


@given(kept=st.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_cut_off_anywhere_is_refused(sealed, kept):
    torn = io.BytesIO(sealed[: int(len(sealed) * kept)])
    with pytest.raises(StorageError, match=r"cut off or not a chunk|contradicts itself"):
        chunk.read_facts(torn)


@given(place=st.integers(0, len(MEDIA) - 1), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_of_the_media_is_found(sealed, place, bit):
    damaged = bytearray(sealed)
    damaged[place] ^= 1 << bit
    with pytest.raises(StorageError, match="chunk 7 was damaged after it was written"):
        chunk.checked_media(io.BytesIO(damaged), name="chunk 7")


@given(blob=st.binary(max_size=64), length=st.integers(0, 2**64 - 1))
def test_a_hostile_footer_is_refused(blob, length):
    hostile = io.BytesIO(blob + length.to_bytes(8, "little") + b"vgenchk1")
    with pytest.raises(StorageError, match=r"cut off|cannot be read"):
        chunk.read_facts(hostile)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": 44}, r"frames \[44, 44\)"),
        ({"start": -1}, r"frames \[-1, 44\)"),
        ({"frame_pts": (100, 104, 103, 110)}, "PTS do not increase"),
        ({"packet_pts": (100, 103)}, "PTS do not increase"),
        ({"frame_pts": (1, 1), "packet_pts": (1, 1)}, "PTS do not increase"),
    ],
)
def test_facts_that_contradict_themselves_are_refused(sealed, changes, message, tmp_path):
    facts = FACTS.model_copy(update=changes)
    path = tmp_path / "chunk"
    path.write_bytes(b"media")
    with pytest.raises(ValueError, match=message):
        chunk.seal(path, facts)
    assert path.read_bytes() == b"media"
    footer = {"media_size_bytes": 0, "media_sha256": "", "facts": facts.model_dump(mode="json")}
    with pytest.raises(StorageError, match=f"contradicts itself: .*{message}"):
        chunk.read_facts(with_footer(json.dumps(footer).encode()))


def test_facts_of_other_fields_or_of_another_size_are_refused(sealed):
    facts = FACTS.model_dump(mode="json")
    footer = {"media_size_bytes": 5, "media_sha256": "", "facts": facts}
    with pytest.raises(StorageError, match="holds 4 bytes of media, not as recorded"):
        chunk.read_facts(with_footer(json.dumps(footer).encode(), b"1234"))
    footer["facts"] = facts | {"command": "rm"}
    with pytest.raises(StorageError, match=r"cannot be read \(1 faults\)"):
        chunk.read_facts(with_footer(json.dumps(footer).encode()))


def test_a_missing_file_is_the_callers_bug():
    with pytest.raises(FileNotFoundError):
        chunk.seal(Path("/nonexistent/chunk"), FACTS)
