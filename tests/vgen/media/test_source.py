"""Nothing but the named file is ever opened, and every foreign error becomes one clear sentence."""

import errno
import http.server
import os
import shutil
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
import pytest

from vgen import storage
from vgen.errors import DecodeError, EncodeError, FullError, MissingError, ProbeError
from vgen.media.source import FORMATS, open_source, translated


def opened(path) -> str:
    with open_source(str(path)) as container:
        return container.format.name


def refusal(path) -> str:
    with pytest.raises(ProbeError) as caught, open_source(str(path)):
        pass
    assert caught.value.uri == str(path)
    return caught.value.message


@pytest.mark.parametrize(
    ("clip", "demuxer"),
    [
        ("h264_mp4", "mov,mp4,m4a,3gp,3g2,mj2"),
        ("h264_mkv", "matroska,webm"),
        ("h264_ts", "mpegts"),
        ("mpeg2_ps", "mpeg"),
        ("mpeg4_avi", "avi"),
        ("h264_flv", "flv"),
        ("wmv_asf", "asf"),
        ("theora_ogv", "ogg"),
        ("nut", "nut"),
        ("gif", "gif"),
        ("y4m", "yuv4mpegpipe"),
        ("h264_raw", "h264"),
        ("mpeg2_raw", "mpegvideo"),
    ],
)
def test_containers_of_videos_open(media, clip, demuxer):
    assert opened(media[clip]) == demuxer


def test_the_content_decides_not_the_name(media, tmp_path):
    disguised = tmp_path / "holiday.txt"
    shutil.copy(media["h264_mkv"], disguised)
    assert opened(disguised) == "matroska,webm"


def test_every_format_on_the_list_exists_in_this_ffmpeg():
    for name in FORMATS:
        assert av.ContainerFormat(name).is_input, name


@pytest.mark.parametrize("name", ["%03d.mp4", "a|b.mp4", "concat:a.mp4", "x y's [1].mp4", "http:"])
def test_file_names_mean_nothing_to_ffmpeg(media, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copy(media["h264_mp4"], tmp_path / name)
    assert opened(name).startswith("mov")


# What a hostile file may try to make us open: a local file, and a server on this machine.


class _Hits(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.hits.append(self.path)
        self.send_error(404)

    def log_message(self, *_):
        pass


@contextmanager
def counting_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hits) as server:
        server.hits = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def scripts_for(target: str) -> dict[str, str]:
    """Files in formats that name further files, pointing at ``target``."""
    m3u8 = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
    mpd = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT9S" profiles="urn:mpeg:dash:profile:isoff-main:2011">'
        f'<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="9">'
        f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )
    sdp = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nu={target}\nm=video 9 RTP/AVP 96\n"
    return {
        "list.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        "list.mp4": f"ffconcat version 1.0\nfile '{target}'\n",
        "live.m3u8": m3u8,
        "live.mp4": m3u8,
        "live.ts": m3u8,
        "live.mpd": mpd,
        "session.sdp": sdp,
    }


@dataclass
class Bait:
    path: Path

    def was_read(self) -> bool:
        return self.path.stat().st_atime != 1


@pytest.fixture
def bait(media, tmp_path) -> Bait:
    """A local video that shows whether anybody read it."""
    baits = []
    for name in ("control.mov", "bait.mov"):
        path = tmp_path / name
        shutil.copy(media["prores_mov"], path)
        os.utime(path, (1, 1))  # an access time this old is renewed by any read
        baits.append(Bait(path))
    baits[0].path.read_bytes()
    if not baits[0].was_read():
        pytest.skip("this file system does not record reads")
    return baits[1]


@pytest.mark.parametrize("name", sorted(scripts_for("")))
def test_playlists_and_scripts_read_no_other_file(bait, tmp_path, name):
    script = tmp_path / name
    script.write_text(scripts_for(str(bait.path))[name])
    assert refusal(script).startswith("not a video")
    assert not bait.was_read()


@pytest.mark.parametrize("name", sorted(scripts_for("")))
def test_playlists_and_scripts_reach_no_server(tmp_path, name):
    with counting_server() as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/x.ts"
        script = tmp_path / name
        script.write_text(scripts_for(url)[name])
        assert refusal(script).startswith("not a video")
    assert server.hits == []


def test_the_bait_of_these_tests_is_taken_without_the_lists(bait, tmp_path):
    script = tmp_path / "list.ffconcat"
    script.write_text(scripts_for(str(bait.path))["list.ffconcat"])
    with av.open(str(script), options={"safe": "0"}) as container:
        assert container.streams.video
    assert bait.was_read()
    live = tmp_path / "live.m3u8"
    with counting_server() as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/x.ts"
        live.write_text(scripts_for(url)["live.m3u8"])
        with pytest.raises(av.error.FFmpegError):
            av.open(str(live), options={"protocol_whitelist": "file,http,tcp"})
    assert server.hits == ["/x.ts"]


def test_a_playlist_in_a_store_reaches_nothing_either(bait):
    script = scripts_for(str(bait.path))["live.m3u8"].encode()
    assert refusal(stored(script, "live.m3u8")).startswith("not a video")
    assert not bait.was_read()


@pytest.mark.parametrize("is_followed", [False, True])
def test_external_references_of_quicktime_files_are_not_followed(
    media, bait, tmp_path, is_followed
):
    reference = tmp_path / "reference.mov"
    movie = media["prores_mov"].read_bytes()
    reference.write_bytes(with_external_data(movie, str(bait.path)))
    if is_followed:  # the control: this is what such a file does where it is let
        with av.open(
            str(reference), options={"enable_drefs": "1", "use_absolute_path": "1"}
        ) as container:
            container.streams.video  # noqa: B018
    else:
        with open_source(str(reference)) as container:
            list(container.demux(container.streams.video[0]))
    assert bait.was_read() == is_followed


def with_external_data(movie: bytes, path: str) -> bytes:
    """Return a movie without its media data whose data reference names another file."""
    start = movie.index(b"dref") - 4
    (size,) = struct.unpack(">I", movie[start : start + 4])
    full_path = path.encode()
    # An alias record: fixed part, then (type, length, bytes) of which 2 is the absolute path.
    alias = bytes(150) + struct.pack(">hh", 2, len(full_path)) + full_path
    alias += bytes(len(full_path) % 2) + struct.pack(">hh", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    box = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    grown = bytearray(movie[:start] + box + movie[start + size :])
    for name in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = grown.rindex(name, 0, start + 8) - 4 if name != b"moov" else grown.index(name) - 4
        (old,) = struct.unpack(">I", grown[at : at + 4])
        grown[at : at + 4] = struct.pack(">I", old + len(box) - size)
    moov = grown.index(b"moov") - 4
    return bytes(grown[:28]) + bytes(grown[moov:])


def test_a_folder_named_like_a_video_is_refused(tmp_path):
    folder = tmp_path / "x.mp4"
    folder.mkdir()
    assert refusal(folder) == "not a plain file"


def test_a_pipe_does_not_block(tmp_path):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    assert refusal(pipe) == "not a plain file"


def test_a_missing_file_is_named(tmp_path):
    assert refusal(tmp_path / "gone.mp4") == "no such file"


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        ("empty.mp4", "the file is empty"),
        ("text.mp4", "not a video file that can be read"),
        ("truncated.mp4", "repair it with an untrunc tool"),
        ("still_png", "pictures and sound files are refused"),
    ],
)
def test_what_is_no_video_is_refused_with_its_reason(media, clip, says):
    assert says in refusal(media[clip])


def test_a_listed_size_of_zero_is_refused_without_a_request():
    with (
        pytest.raises(ProbeError, match="the file is empty"),
        open_source("s3://bucket/empty.mp4", size_bytes=0),
    ):
        pass


def stored(content: bytes, name: str) -> str:
    uri = f"memory://source-test/{name}"
    storage.write_bytes(uri, content)
    return uri


def test_an_object_is_read_through_its_file(media):
    assert opened(stored(media["h264_mp4"].read_bytes(), "h264.mp4")).startswith("mov")


def test_an_object_without_content_is_refused():
    assert refusal(stored(b"", "empty.mp4")) == "the file is empty"


def test_a_truncated_object_is_refused_with_the_remedy(media):
    assert "untrunc" in refusal(stored(media["truncated.mp4"].read_bytes(), "cut.mp4"))


def test_an_object_that_went_away_is_a_fault_of_storage():
    with pytest.raises(MissingError), open_source("memory://source-test/gone.mp4"):
        pass


def test_a_local_copy_is_read_but_the_source_is_named(media, tmp_path):
    with open_source("s3://bucket/x.mp4", open_path=str(media["h264_mp4"])) as container:
        assert container.format.name.startswith("mov")
    with (
        pytest.raises(ProbeError, match=r"no such file \(s3://bucket/x.mp4\)"),
        open_source("s3://bucket/x.mp4", open_path=str(tmp_path / "gone")),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (av.error.InvalidDataError(1094995529, "torn"), "cannot be read: torn"),
        (ValueError("odd"), "cannot be read: odd"),
        (IndexError("list index out of range"), "cannot be read: list index out of range"),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"), "cannot be read: 'utf-8' codec"),
        (OverflowError("too large"), "cannot be read: too large"),
        (EOFError(), "cannot be read: EOFError"),
        (PermissionError(13, "Permission denied"), "not allowed to read the file"),
        (FileNotFoundError(2, "No such file"), "no such file"),
        (IsADirectoryError(21, "Is a directory"), "a folder, not a file"),
    ],
)
def test_foreign_errors_become_the_errors_of_a_file(error, says):
    with pytest.raises(DecodeError) as caught, translated("a.mp4", DecodeError):
        raise error
    assert caught.value.message.startswith(says)
    assert caught.value.__cause__ is error


def test_bugs_are_not_taken_for_bad_files():
    with pytest.raises(TypeError), translated("a.mp4"):
        raise TypeError("a bug")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_no_fault_of_the_file():
    def write() -> None:
        with translated("clip.mp4", EncodeError), av.open("file:/dev/full", "w", "nut") as output:
            stream = output.add_stream("rawvideo", rate=25, width=512, height=512)
            frame = av.VideoFrame.from_ndarray(np.zeros((768, 512), np.uint8), format="yuv420p")
            output.mux(stream.encode(frame))

    with pytest.raises(FullError, match=r"^No space left .*'clip.mp4'.*VGEN_SCRATCH"):
        write()


def test_a_quota_that_is_used_up_is_no_fault_of_the_file():
    with pytest.raises(FullError, match="VGEN_SCRATCH"), translated("clip.mp4"):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
