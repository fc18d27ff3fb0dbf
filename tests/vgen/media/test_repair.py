"""Every stream follows the picture over jumps, whatever gaps and pauses it has."""

from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgen.media.repair import Repair

TICKS = {0: Fraction(1, 90_000), 1: Fraction(1, 1000), 2: Fraction(1, 90_000)}
PICTURE, SOUND, WORDS = TICKS
STEP_S = {PICTURE: Fraction(1, 25), SOUND: Fraction(1, 50), WORDS: Fraction(0)}


def packet(stream, raw_s, place_s, recording=0):
    """A packet that the file shows at ``raw_s`` and has at ``place_s`` of its length."""
    dts = round(raw_s / TICKS[stream])
    return SimpleNamespace(
        stream_index=stream, dts=dts, pts=dts, duration=round(STEP_S[stream] / TICKS[stream]),
        recording=recording, was_s=dts * TICKS[stream], place_s=place_s,
    )  # fmt: skip


def recording(number, raw_s, place_s, length_s, *, pause=None, gap=None, words=()):
    """Packets of one recording; ``pause`` of the picture and ``gap`` of the sound are ranges."""
    times = {
        PICTURE: [n * STEP_S[PICTURE] for n in range(length_s * 25)],
        SOUND: [n * STEP_S[SOUND] for n in range(length_s * 50)],
        WORDS: list(words),
    }
    quiet = {PICTURE: pause or (0, 0), SOUND: gap or (0, 0), WORDS: (0, 0)}
    return [
        packet(stream, raw_s + at, place_s + at, number)
        for stream, ats in times.items()
        for at in ats
        if not quiet[stream][0] <= at < quiet[stream][1]
    ]


def repaired(packets, *, late_s=Fraction(0), delay=0):
    """Repair packets in the order of a file: sound ``late_s``, pictures ``delay`` pictures late."""
    pictures = [p for p in packets if p.stream_index == PICTURE]
    for at, picture in enumerate(pictures):
        picture.place_s = pictures[min(at + delay, len(pictures) - 1)].place_s
    for other in packets:
        other.place_s += late_s if other.stream_index == SOUND else 0
    repair = Repair(TICKS, lead=PICTURE, witnesses=[SOUND])
    out = []
    for one in sorted(packets, key=lambda p: p.place_s):
        out += repair.take(one)
    out += repair.finish()
    assert sorted(map(id, out)) == sorted(map(id, packets))
    return out


def shifts_s(packets, stream):
    """By how much each packet of a stream was shifted, by recording."""
    found = {}
    for one in packets:
        if one.stream_index == stream:
            shift = one.dts * TICKS[stream] - one.was_s
            found.setdefault(one.recording, set()).add(round(shift, 2))
    return found


RECORDINGS = st.lists(
    st.fixed_dictionaries(
        {
            "length_s": st.integers(8, 30),
            "quiet": st.sampled_from(["none", "picture", "sound"]),
            "start_s": st.integers(1, 5),
            "quiet_s": st.integers(4, 40),
            "words": st.lists(st.integers(0, 690), max_size=5),
            "jump_s": st.one_of(st.integers(11, 5000), st.integers(-300, -6)),
        }
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=20)
@given(RECORDINGS, st.integers(-10, 25), st.integers(0, 2))
def test_what_belongs_together_is_shifted_together(recordings, late, delay):
    packets, raw_s, place_s = [], 1000, 0
    for number, one in enumerate(recordings):
        length_s = one["length_s"] + (one["quiet_s"] if one["quiet"] != "none" else 0)
        quiet = (one["start_s"], one["start_s"] + one["quiet_s"])
        packets += recording(
            number, raw_s, place_s, length_s,
            pause=quiet if one["quiet"] == "picture" else None,
            gap=quiet if one["quiet"] == "sound" else None,
            words=[Fraction(at, 700) * length_s for at in sorted(set(one["words"]))],
        )  # fmt: skip
        raw_s, place_s = max(0, raw_s + length_s + one["jump_s"]), place_s + length_s
    out = repaired(packets, late_s=Fraction(late, 50), delay=delay)
    pictures = shifts_s(out, PICTURE)
    assert all(len(shifts) == 1 for shifts in pictures.values())
    for stream in (SOUND, WORDS):
        assert all(pictures[n] == shifts for n, shifts in shifts_s(out, stream).items())
    starts = [[p.dts for p in out if p.stream_index == PICTURE and p.recording == n]
              for n in range(len(recordings))]  # fmt: skip
    assert all(after[0] - before[-1] == 3600 for before, after in pairwise(starts))


@pytest.mark.parametrize("base_s", [5000, 100, 0])
def test_sparse_subtitles_keep_their_times_before_and_after_a_jump(base_s):
    packets = [
        *recording(0, 100, 0, 40, words=[2, 5, 20, 24, 35]),
        *recording(1, base_s, 40, 40, words=[3, 20, 30]),
    ]
    words = [p for p in repaired(packets) if p.stream_index == WORDS]
    want = [102, 105, 120, 124, 135, 143, 160, 170]
    assert [p.dts * TICKS[WORDS] for p in words] == want


def test_sound_that_falls_silent_for_long_keeps_its_times_before_a_jump():
    packets = [*recording(0, 0, 0, 30, gap=(5, 20)), *recording(1, 3000, 30, 10)]
    assert shifts_s(repaired(packets), SOUND) == {0: {0}, 1: {-2970}}


@pytest.mark.parametrize("delay", [0, 2, 12])
def test_a_leap_of_the_picture_is_a_pause_if_the_sound_ran_on_before_it(delay):
    """As in transport streams, which deliver a picture only once the next has begun."""
    packets = recording(0, 10, 0, 30, pause=(3, 17), words=[5, 16, 18])
    out = repaired(packets, late_s=Fraction(1, 10), delay=delay)
    assert [shifts_s(out, stream) for stream in TICKS] == [{0: {0}}] * 3


def test_a_leap_of_the_picture_is_a_pause_if_the_sound_runs_on_behind_it():
    """As in program streams, which have what comes after a pause before the sound of the pause."""
    packets = recording(0, 10, 0, 30, pause=(3, 17), words=[5, 16, 18])
    for one in packets:
        if one.stream_index == PICTURE and 27 <= one.was_s < 28:
            one.place_s -= 14
    out = repaired(packets)
    assert [shifts_s(out, stream) for stream in TICKS] == [{0: {0}}] * 3


def test_a_leap_of_the_picture_is_a_jump_if_there_is_no_sound():
    packets = [p for p in recording(0, 10, 0, 30, pause=(3, 17)) if p.stream_index == PICTURE]
    pictures = repaired(packets)
    assert [p.dts for p in pictures] == [900_000 + 3600 * n for n in range(len(pictures))]


@pytest.mark.parametrize("wild_s", [0, 4000])
def test_a_stray_piece_of_sound_goes_where_its_stream_stood(wild_s):
    packets = recording(0, 1000, 0, 20)
    stray = next(p for p in packets if p.stream_index == SOUND and p.was_s == 1010)
    stray.dts = stray.pts = wild_s * 1000
    sound = [p for p in repaired(packets) if p.stream_index == SOUND]
    assert stray.dts == 1_009_980
    assert [p.dts for p in sound if p is not stray] == [
        round(p.was_s * 1000) for p in sound if p is not stray
    ]


def reordered(raw_s):
    """Pictures of which the third is shown after a pause, and decoded before it."""
    dts = [0, 1, 2, 3, 400, 401, 402, 403]
    pts = [0, 1, 400, 3, 401, 402, 403, 404]
    made = [packet(PICTURE, raw_s + at * STEP_S[PICTURE], n) for n, at in enumerate(dts)]
    for one, at in zip(made, pts, strict=True):
        one.pts = round((raw_s + at * STEP_S[PICTURE]) * 90_000)
    return made


def test_a_pts_that_a_later_dts_explains_is_kept_also_where_the_leap_is_taken_out():
    out = repaired(reordered(10))
    assert [p.pts - 900_000 for p in out] == [3600 * n for n in (0, 1, 4, 3, 5, 6, 7, 8)]
    assert [p.dts - 900_000 for p in out] == [3600 * n for n in range(8)]


def test_a_pts_that_no_dts_explains_is_dropped():
    pictures = reordered(10)
    pictures[2].pts += 90_000 * 60
    assert [p.pts is None for p in repaired(pictures)] == [n == 2 for n in range(8)]
