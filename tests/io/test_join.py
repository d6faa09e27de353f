import errno
import os
from fractions import Fraction
from itertools import permutations

import pytest

from lift.errors import LiftError
from lift.files import write_error
from lift.io import clock
from lift.io.join import LATEST, apart, decoding_times, join_parts
from lift.io.streams import plan_streams
from lift.io.timing import WHOLE, Timing
from tests.support.media import (
    SRT,
    STEP,
    encoded_picture,
    join,
    packets_of,
    shown_times,
    write_media,
)

av = pytest.importorskip("av")


@pytest.mark.parametrize("suffix", (".mp4", ".mov", ".mkv", ".nut"))
@pytest.mark.parametrize("b_frames", (0, 3))
def test_frames_are_displayed_at_their_times(tmp_path, suffix, b_frames):
    times = [Fraction(k, 1000) for k in (0, 40, 70, 200, 210, 400, 401, 500, 900, 1000)]
    shown = shown_times(join(tmp_path / f"a{suffix}", times=times, b_frames=b_frames))
    start = shown[0]  # NUT begins at the first decoding time
    assert [time - start for time in shown] == times
    assert start == 0 or suffix == ".nut"


@pytest.mark.parametrize("suffix", (".mp4", ".mkv"))
def test_the_last_frame_is_displayed_for_its_duration(tmp_path, suffix):
    path = join(tmp_path / f"a{suffix}", hold=Fraction(5, 4))
    with av.open(str(path)) as container:
        assert container.duration == 1_610_000 and container.start_time == 0


@pytest.mark.parametrize("suffix", (".mp4", ".mkv", ".mov"))
@pytest.mark.parametrize("source_suffix", (".mp4", ".mkv", ".ts"))
def test_copied_sound_is_identical_and_in_step(tmp_path, source_suffix, suffix):
    source = write_media(tmp_path / f"s{source_suffix}", sounds=("ac3", "aac"))
    before = list(packets_of(source, "audio").values())
    after = list(packets_of(join(tmp_path / f"a{suffix}", source), "audio").values())
    for number, (given, written) in enumerate(zip(before, after, strict=True)):
        if source_suffix != ".ts" or number == 0:  # AAC loses its ADTS header outside of TS
            assert [data for _, data in given] == [data for _, data in written]
        shifts = [b[0] - a[0] for a, b in zip(given, written, strict=True)]
        assert max(shifts) - min(shifts) < Fraction(1, 900)
        if source_suffix != ".ts":
            assert all(abs(shift) <= Fraction(1, 1000) for shift in shifts)


def test_priming_of_sound_does_not_delay_the_picture(tmp_path):
    source = write_media(tmp_path / "s.mp4")
    path = join(tmp_path / "a.mkv", source)
    assert shown_times(path)[0] == 0
    assert len(packets_of(path, "audio")[1]) == len(packets_of(source, "audio")[1])


def test_subtitles_chapters_and_flags_arrive(tmp_path):
    source = write_media(
        tmp_path / "s.mp4",
        subtitles=SRT,
        chapters=((0, 0.2, "One"), (0.2, 0.4, "Two")),
        metadata={"title": "Film", "com.android.version": "13"},
        dispositions=(1, 0, 1),
        options={"movflags": "use_metadata_tags"},
    )
    for suffix in (".mp4", ".mkv"):
        path = join(tmp_path / f"a{suffix}", source)
        texts = packets_of(path, "subtitle").popitem()[1]
        found = [(round(float(time), 3), data) for time, data in texts if len(data) > 2]
        assert [time for time, _ in found] == [0.1, 0.25]
        assert b"Hello" in found[0][1] and "Wörld".encode() in found[1][1]
        with av.open(str(path)) as container:
            titles = [chapter["metadata"]["title"] for chapter in container.chapters()]
            assert titles == ["One", "Two"]
            tags = {key.lower(): value for key, value in container.metadata.items()}
            assert tags["title"] == "Film" and tags["com.android.version"] == "13"


def test_subtitles_whose_times_go_back_are_kept(tmp_path, monkeypatch):
    def jittered(*args):
        for packet in demux(*args):
            if packet.stream.type == "subtitle" and packet.pts == 250:
                packet.pts = packet.dts = 99  # the one before begins at 100
            yield packet

    demux = clock.demux
    source = write_media(tmp_path / "s.mkv", subtitles=SRT)
    monkeypatch.setattr(clock, "demux", jittered)
    texts = packets_of(join(tmp_path / "a.mkv", source), "subtitle").popitem()[1]
    assert [time for time, _ in texts] == [Fraction(1, 10)] * 2


def test_the_last_packet_of_sound_without_durations_reaches_mp4(tmp_path):
    source = write_media(tmp_path / "s.mkv", sounds=("alac",))
    path = join(tmp_path / "a.mp4", source)
    (before,), (after,) = (packets_of(file, "audio").values() for file in (source, path))
    assert [data for _, data in after] == [data for _, data in before]


def test_a_cut_moves_sound_with_the_picture(tmp_path):
    source = write_media(tmp_path / "s.mkv", frames=25)
    timing = Timing(Fraction(2, 5), Fraction(4, 5))
    path = join(tmp_path / "a.mkv", source, timing=timing)
    times = [time for time, _ in packets_of(path, "audio")[1]]
    assert 0 <= times[0] < Fraction(22, 1000) and times[-1] < Fraction(2, 5)


@pytest.mark.parametrize("order", tuple(permutations(range(4))))
def test_decoding_times_rise_and_never_pass_display(order):
    def packets():
        for k in (0, *(place + 1 for place in order), 5):
            yield av.Packet(b"x"), k * STEP, STEP, k == 0

    timed = [packet for packet, _ in decoding_times(packets(), STEP, 0)]
    assert all(packet.dts <= packet.pts for packet in timed)
    dts = [packet.dts for packet in timed]
    assert dts == sorted(set(dts))
    assert sorted(packet.pts for packet in timed) == list(range(6))


def test_frames_closer_than_a_tick_get_ticks_of_their_own():
    tick, near = Fraction(1, 1000), Fraction(1, 15_360)
    times = [Fraction(0), near / 2, near, Fraction(1, 30), Fraction(2, 30)]
    assert apart(times, tick) == [0, tick, 2 * tick, *times[3:]]
    assert apart([near], tick, after=Fraction(0)) == [tick]


def test_times_that_round_to_different_ticks_stay():
    times = [Fraction(k, 999) for k in range(20)] + [Fraction(41, 2000), Fraction(43, 2000)]
    assert apart(times, Fraction(1, 1000)) == times


def test_no_time_is_moved_far_where_frames_come_faster_than_ticks():
    times = [Fraction(k, 2400) for k in range(100)]
    moved = apart(times, Fraction(1, 1000))
    assert max(b - a for a, b in zip(times, moved, strict=True)) == LATEST * Fraction(1, 1000)
    assert moved == sorted(moved)


def test_no_frames_no_file(tmp_path):
    with encoded_picture(1) as (template, _), pytest.raises(LiftError, match="no frame"):
        plan = plan_streams(None, ".mkv", template=template, timing=WHOLE)
        join_parts(tmp_path / "a.mkv", [], template, plan, time_base=STEP)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing(tmp_path):
    def packets(numbered):
        yield numbered[0][0], Fraction(0), STEP, True
        raise OSError(errno.ENOSPC, "No space left on device")

    with encoded_picture(3) as (template, numbered), pytest.raises(LiftError, match="disk is full"):
        plan = plan_streams(None, ".mp4", template=template)
        join_parts(tmp_path / "a.mp4", packets(numbered), template, plan, time_base=STEP)
    assert not list(tmp_path.iterdir())


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    path = join(tmp_path / ("ä" * 125 + ".mp4"))
    assert len(os.fsencode(path.name)) == 254 and path.exists()
    with pytest.raises(LiftError, match="name is too long"):
        join(tmp_path / ("a" * 300 + ".mp4"))


@pytest.mark.parametrize(
    "number, words",
    (
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EFBIG, "free some space"),
        (errno.EACCES, "permission"),
        (errno.EROFS, "read-only"),
        (errno.ENAMETOOLONG, "too long"),
    ),
)
def test_each_cause_has_its_own_remedy(number, words):
    text = str(write_error("a.mp4", OSError(number, os.strerror(number))))
    assert words in text and "a.mp4" in text
    assert ("free some space" in text) == (words == "free some space")
