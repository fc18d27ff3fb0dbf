"""Everything besides the picture arrives as it was, or is named."""

import struct
from fractions import Fraction

import av
import pytest
from av.stream import Disposition

from tests.chunked import copied, probed
from tests.media_factory import run_ffmpeg
from vgen.config import EncodeSettings
from vgen.media.encoders import resolve_encoding
from vgen.media.passthrough import fresh_metadata, resolve_container
from vgen.media.verify import verify_output

FAST = {"preset": "ultrafast", "crf": 40}
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


def verified(source, folder, **settings):
    """A copy that has passed the gate."""
    copy = copied(source, folder, EncodeSettings(**(FAST | settings)))
    verify_output(copy.path, copy.info, copy.plan, copy.frame_pts, copy.result, uri="copy")
    return copy


def stream_digest(path, stream) -> str:
    """MD5 over the packets of one stream, by the independent program."""
    return run_ffmpeg("-i", path, "-map", stream, "-c", "copy", "-f", "md5", "-")


def tracks(path):
    with av.open(str(path)) as container:
        return [(s.type, s.metadata.get("language"), int(s.disposition)) for s in container.streams]


def resolved(source, **settings):
    info, _ = probed(source)
    plan = resolve_encoding(info, EncodeSettings(**settings), scale=1)
    return resolve_container(str(source), info, plan)


@pytest.fixture(scope="module")
def subtitled(media, tmp_path_factory):
    """An mp4 with sound, text subtitles, chapters, a title and a date."""
    folder = tmp_path_factory.mktemp("subtitled")
    words = folder / "words.srt"
    words.write_text("1\n00:00:00,500 --> 00:00:01,500\nhello\n\n"
                     "2\n00:00:02,000 --> 00:00:02,500\n<i>world</i>\n")  # fmt: skip
    chapters = folder / "chapters.txt"
    chapters.write_text(
        ";FFMETADATA1\ntitle=holiday\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=one\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3000\ntitle=two\n"
    )
    path = folder / "subtitled.mp4"
    run_ffmpeg(
        "-i", media["h264_mp4"], "-i", words, "-i", chapters, "-map", "0", "-map", "1",
        "-map_chapters", "2", "-c", "copy", "-c:s", "mov_text", "-metadata", "title=holiday",
        "-metadata", "creation_time=2019-03-01T10:11:12Z", "-metadata:s:a:0", "language=eng",
        "-metadata:s:s:0", "language=deu", "-metadata:s:a:0", "title=director",
        "-timecode", "01:02:03:04", path,
    )  # fmt: skip
    return path


def test_all_streams_of_a_matroska_file_arrive(media, tmp_path):
    source = media["multitrack.mkv"]
    copy = verified(source, tmp_path)
    assert copy.path.suffix == ".mkv"
    assert tracks(copy.path) == tracks(source)
    assert copy.plan.dropped == copy.result.dropped == ()
    for stream in ("0:a:0", "0:a:1", "0:s:0"):
        assert stream_digest(copy.path, stream) == stream_digest(source, stream)
    with av.open(str(copy.path)) as made_file, av.open(str(source)) as source_file:
        assert made_file.metadata["title"] == "tracks"
        attachments = [c.streams.attachments[0] for c in (made_file, source_file)]
        assert attachments[0].data == attachments[1].data
        assert attachments[0].mimetype == "text/plain"
        times = [[(c["start"], c["end"]) for c in f.chapters()] for f in (made_file, source_file)]
        titles = [c["metadata"]["title"] for c in made_file.chapters()]
    assert times[0] == times[1]
    assert titles == ["one", "two"]


def test_an_mp4_keeps_its_subtitles_chapters_timecode_title_and_date(subtitled, tmp_path):
    copy = verified(subtitled, tmp_path)
    assert copy.path.suffix == ".mp4"
    assert copy.plan.dropped == ()
    for stream in ("0:a:0", "0:s:0"):
        assert stream_digest(copy.path, stream) == stream_digest(subtitled, stream)
    with av.open(str(copy.path)) as container:
        assert container.metadata["title"] == "holiday"
        assert container.metadata["creation_time"].startswith("2019-03-01T10:11:12")
        assert [c["metadata"]["title"] for c in container.chapters()] == ["one", "two"]
        assert container.streams.video[0].metadata["timecode"] == "01:02:03:04"
        assert [s.language for s in container.streams.subtitles] == ["deu"]
        assert container.streams.audio[0].metadata["name"] == "director"


def chapters_of(path):
    with av.open(str(path)) as container:
        return [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"].get("title", ""))
            for c in container.chapters()
        ]


@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_long_and_untitled_chapters_keep_their_times_and_titles(tmp_path, container):
    """FFmpeg writes them as packets of a track, and takes none of 2^31 ticks."""
    marks = ((0, 600, "a"), (600, 700, None), (700, 1400, "c"))
    told = tmp_path / "chapters.txt"
    told.write_text(";FFMETADATA1\n" + "".join(
        f"[CHAPTER]\nTIMEBASE=1/1\nSTART={start}\nEND={end}\n" + (f"title={name}\n" if name else "")
        for start, end, name in marks
    ))  # fmt: skip
    source = tmp_path / "long.mkv"
    run_ffmpeg(
        "-f", "lavfi", "-i", "color=c=gray:s=32x32:r=1:d=1400", "-f", "lavfi", "-i",
        "sine=d=5:r=44100", "-i", told, "-map", "0:v", "-map", "1:a", "-map_chapters", "2", *X264,
        "-c:a", "aac", source,
    )  # fmt: skip
    middle = tmp_path / f"long.{container}"
    # FFmpeg itself would give an untitled one the title and the times of the next.
    run_ffmpeg("-i", source, "-c", "copy", "-metadata:c:1", "title=b", "-video_track_timescale",
               "30000", middle)  # fmt: skip
    for number, path in enumerate((source, middle)):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = chapters_of(verified(path, folder, container=container).path)
        assert made == chapters_of(path)
        if path == source:
            assert made == [(start, end, name or "") for start, end, name in marks]


def test_text_subtitles_of_mp4_become_those_of_matroska(subtitled, tmp_path):
    copy = verified(subtitled, tmp_path, codec="ffv1")
    with av.open(str(copy.path)) as container:
        assert container.streams.audio[0].metadata["title"] == "director"
    assert copy.path.suffix == ".mkv"
    assert copy.plan.dropped == ()
    assert "subtitle 1 (mov_text, deu) is written as subrip, without styles" in copy.plan.notes
    text = run_ffmpeg("-copyts", "-i", copy.path, "-map", "0:s:0", "-f", "srt", "-")
    assert "00:00:00,500 --> 00:00:01,500\nhello" in text
    assert "00:00:02,000 --> 00:00:02,500\nworld" in text
    assert ("subtitle", "deu") in [track[:2] for track in tracks(copy.path)]


def test_of_chapters_that_start_together_matroska_gets_the_longest(media, tmp_path):
    """Its reader in FFmpeg hides the others, and the gate would find them missing."""
    marks = tmp_path / "marks.txt"
    times = ((0, 500, "a"), (500, 500, "mark"), (500, 2000, "b"), (2500, 9000, "beyond"))
    marks.write_text(";FFMETADATA1\n" + "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n"
        for start, end, title in times
    ))  # fmt: skip
    source = tmp_path / "marked.mp4"
    run_ffmpeg("-i", media["h264_mp4"], "-i", marks, "-map", "0", "-map_chapters", "1",
               "-c", "copy", source)  # fmt: skip
    copy = verified(source, tmp_path, container="mkv")
    with av.open(str(copy.path)) as container:
        titles = [one["metadata"]["title"] for one in container.chapters()]
    assert titles == ["a", "b", "beyond"]
    assert "1 of the chapters start with a longer one and are left out" in copy.result.notes
    assert verified(source, tmp_path, container="mp4").result.num_chapters == 4


def test_a_container_that_would_lose_streams_is_widened_and_says_so(media):
    plan = resolved(media["multitrack.mkv"], container="mp4")
    assert plan.container == "mkv"
    assert plan.dropped == ()
    (note,) = plan.notes
    assert note == ("written as mkv: mp4 does not carry subtitle 1 (subrip, deu), attachment 1")


def test_a_container_that_carries_all_streams_stays(media):
    assert resolved(media["h264_mp4"], container="mov").container == "mov"
    assert resolved(media["h264_mov"], container="mp4").container == "mp4"
    assert resolved(media["h264_ts"], container="mp4").container == "mp4"


def test_a_container_that_would_misname_a_codec_does_not_carry_it(media):
    plan = resolved(media["mpeg2_ps"], container="mp4")
    assert (plan.container, plan.dropped) == ("mkv", ())
    assert resolved(media["mpeg2_ps"], container="mov").container == "mov"


@pytest.mark.parametrize("container", ["mov", "mkv"])
def test_a_sound_that_nothing_here_decodes_is_named(media, tmp_path, container):
    """Phones write such tracks beside an ordinary one."""
    source = tmp_path / "phone.mov"
    run_ffmpeg("-i", media["h264_mp4"], "-map", "0:v", "-map", "0:a", "-map", "0:a", "-c", "copy",
               source)  # fmt: skip
    content = bytearray(source.read_bytes())
    second = content.rindex(b"mp4a", 0, content.rindex(b"esds"))
    for name, other in ((b"mp4a", b"apac"), (b"esds", b"xsds")):
        while (at := content.find(name, content.rindex(b"stsd", 0, second))) >= 0:
            content[at : at + 4] = other
    source.write_bytes(content)
    copy = verified(source, tmp_path, container=container)
    assert copy.plan.dropped == ("audio 2",)
    assert stream_digest(copy.path, "0:a:0") == stream_digest(source, "0:a:0")


@pytest.mark.parametrize("suffix", ["ts", "mpg", "vob"])
def test_sound_that_begins_late_arrives(tmp_path, suffix):
    """Beyond the five seconds that FFmpeg looks at for streams by itself."""
    source = tmp_path / f"late.{suffix}"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=16", "-itsoffset", "14",
        "-f", "lavfi", "-i", "sine=duration=2", "-c:v", "mpeg2video", "-c:a", "mp2", source,
    )  # fmt: skip
    copy = verified(source, tmp_path)
    assert copy.plan.dropped == copy.result.dropped == ()
    far = ("-analyzeduration", "60M", "-probesize", "60M")
    packets = ("-map", "0:a:0", "-c", "copy", "-f", "md5", "-")
    expected = run_ffmpeg(*far, "-i", source, *packets)
    assert run_ffmpeg("-i", copy.path, *packets) == expected


def test_what_no_container_carries_is_named(tmp_path):
    source = tmp_path / "data.ts"
    timed = tmp_path / "timed.bin"
    timed.write_bytes(bytes(64))
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:duration=1", "-f", "data", "-i", timed,
               "-map", "0", "-map", "1", *X264, "-c:d", "copy", source)  # fmt: skip
    info, _ = probed(source)
    assert [other.type for other in info.others] == ["data"]
    plan = resolved(source)
    assert plan.dropped == (info.others[0].label,)


@pytest.mark.parametrize(("codec", "container"), [("h264", "mp4"), ("h264", "mkv")])
def test_a_cover_picture_stays_one(media, tmp_path, codec, container):
    source = media["cover.mp4"]
    copy = verified(source, tmp_path, codec=codec, container=container)
    with av.open(str(copy.path)) as container_file, av.open(str(source)) as source_file:

        def cover(file):
            return next(s for s in file.streams if s.disposition & Disposition.attached_pic)

        assert cover(container_file).codec_context.name == "png"
        pictures = [
            next(bytes(p) for p in file.demux(cover(file)))
            for file in (container_file, source_file)
        ]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_cover_picture_of_any_kind_is_carried_or_named(media, tmp_path, kind, container):
    cover, source = tmp_path / f"cover.{kind}", tmp_path / "covered.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1", cover)
    run_ffmpeg(
        "-i", media["h264_mp4"], "-i", cover, "-map", "0:v", "-map", "1", "-c", "copy",
        "-disposition:v:1", "attached_pic", source,
    )  # fmt: skip
    copy = verified(source, tmp_path, container=container)
    with av.open(str(copy.path)) as made:
        is_there = any(s.disposition & Disposition.attached_pic for s in made.streams)
    assert is_there != any("cover" in what for what in copy.plan.dropped)


def test_a_display_matrix_of_no_picture_is_none(media, tmp_path):
    source = tmp_path / "flat.mp4"
    content = media["h264_mp4"].read_bytes()
    unity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = content.index(unity, content.index(b"trak"))
    source.write_bytes(content[:at] + bytes(36) + content[at + 36 :])
    for container in ("mp4", "mkv"):
        copy = verified(source, tmp_path, container=container)
        assert (copy.info.video.display_matrix, copy.info.video.rotation_deg) == (None, 0)


def test_a_cover_picture_moves_a_quicktime_file_to_matroska(media):
    assert resolved(media["cover.mp4"], container="mov").container == "mkv"


def test_subtitles_of_the_same_time_stay_so(media, tmp_path):
    words = tmp_path / "words.srt"
    words.write_text(
        "".join(f"{n}\n00:00:00,500 --> 00:00:01,500\nline {n}\n\n" for n in range(1, 30))
    )
    source = tmp_path / "many.mkv"
    run_ffmpeg("-i", media["h264_mkv"], "-i", words, "-map", "0", "-map", "1", "-c", "copy", source)
    copy = verified(source, tmp_path)
    assert copy.result.carried[-1].num_packets == 29
    text = run_ffmpeg("-copyts", "-i", copy.path, "-map", "0:s", "-f", "srt", "-")
    assert text.count("00:00:00,500 --> 00:00:01,500") == 29


def test_telemetry_and_timecode_are_told_apart(subtitled):
    info, _ = probed(subtitled)
    kinds = [other.type for other in info.others]
    assert kinds.count("data") == 2  # timecode, and the chapters' text
    assert resolved(subtitled).dropped == ()


def test_other_video_tracks_travel_with_their_aspect(tmp_path):
    source = tmp_path / "two.mkv"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x48:duration=1", "-f", "lavfi", "-i",
        "testsrc2=size=32x32:duration=1", "-map", "0", "-map", "1", *X264, "-filter:v:0",
        "setsar=16/11", "-filter:v:1", "setsar=4/3", "-disposition:v:0", "0",
        "-disposition:v:1", "default", source,
    )  # fmt: skip
    copy = verified(source, tmp_path, codec="ffv1")
    assert copy.info.video.index == 1
    with av.open(str(copy.path)) as container:
        shapes = [(s.width, s.sample_aspect_ratio) for s in container.streams.video]
    assert shapes == [(64, Fraction(16, 11)), (32, Fraction(4, 3))]
    assert stream_digest(copy.path, "0:v:0") == stream_digest(source, "0:v:0")


def test_entries_that_only_held_for_the_old_file_are_left_out():
    kept = fresh_metadata({
        "title": "t", "language": "eng", "creation_time": "2019", "timecode": "1", "ENCODER": "x",
        "encoder": "y", "DURATION": "z", "BPS-eng": "1", "_STATISTICS_TAGS": "q",
        "NUMBER_OF_FRAMES": "4", "major_brand": "isom", "vendor_id": "v", "com.apple.make": "m",
    })  # fmt: skip
    assert sorted(kept) == ["com.apple.make", "creation_time", "language", "timecode", "title"]


def test_keys_of_phones_are_kept(media, tmp_path, tmp_path_factory):
    source = tmp_path / "phone.mp4"
    run_ffmpeg(
        "-i", media["h264_mp4"], "-c", "copy", "-movflags", "use_metadata_tags", "-metadata",
        "com.android.version=12", source,
    )  # fmt: skip
    with av.open(str(verified(source, tmp_path_factory.mktemp("copy")).path)) as container:
        assert container.metadata["com.android.version"] == "12"


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def test_beside_a_cover_keys_of_phones_give_way_with_a_note(media, tmp_path):
    """The metadata that holds them has no place for pictures, and the gate would miss the cover."""
    cover, covered = tmp_path / "cover.jpg", tmp_path / "covered.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1", cover)
    run_ffmpeg(
        "-i", media["h264_mp4"], "-i", cover, "-map", "0:v", "-map", "1", "-c", "copy",
        "-disposition:v:1", "attached_pic", covered,
    )  # fmt: skip
    name = b"com.android.version"
    keys = struct.pack(">II", 0, 1) + box(b"mdta", name)
    value = box(b"data", struct.pack(">II", 1, 0) + b"12")
    entry = struct.pack(">II", 8 + len(value), 1) + value
    handler = box(b"hdlr", struct.pack(">II4s", 0, 0, b"mdta") + bytes(13))
    meta = box(b"meta", handler + box(b"keys", keys) + box(b"ilst", entry))
    content = covered.read_bytes()
    at = content.rindex(b"moov") - 4  # FFmpeg puts it last
    source = tmp_path / "phone.mp4"
    source.write_bytes(content[:at] + box(b"moov", content[at + 8 :] + meta))
    with av.open(str(source)) as container:
        assert container.metadata["com.android.version"] == "12"
    copy = verified(source, tmp_path)
    said = "mp4 holds no com.android.version beside a cover picture: left out"
    assert said in copy.result.notes
    with av.open(str(copy.path)) as container:
        assert any(s.disposition & Disposition.attached_pic for s in container.streams)
