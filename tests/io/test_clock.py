from fractions import Fraction

import pytest

from lift.io import clock
from tests.support.media import STEP, write_media

av = pytest.importorskip("av")

AUDIO_STEP = Fraction(1024, 48_000)


def read(path, kinds=("video", "audio")):
    """{kind: seconds of its packets in order of display} on the corrected clock."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type in kinds]
        times: dict = {}
        for packet in clock.demux(container, streams):
            if packet.pts is not None:
                times.setdefault(packet.stream.type, []).append(packet.pts * packet.time_base)
    return {kind: sorted(found) for kind, found in times.items()}


def steps(times):
    return [later - earlier for earlier, later in zip(times, times[1:], strict=False)]


@pytest.mark.parametrize("offset", (0, 5000, 95_442))  # the last one wraps at 2^33 / 90000 s
def test_a_transport_stream_begins_at_zero_and_stays_in_sync(tmp_path, offset):
    path = write_media(tmp_path / "a.ts", options={"output_ts_offset": str(offset)})
    times = read(path)
    assert min(times["audio"][0], times["video"][0]) == 0
    plain = read(write_media(tmp_path / "b.ts"))
    for kind in ("audio", "video"):
        assert times[kind] == pytest.approx(plain[kind], abs=2e-5)


def test_joined_recordings_go_on_with_one_offset_for_all_streams(tmp_path):
    write_media(tmp_path / "a.ts")
    part = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "joined.ts").write_bytes(part * 3)
    one, times = read(tmp_path / "a.ts"), read(tmp_path / "joined.ts")
    for joint in (1, 2):
        shifts = []
        for kind in ("audio", "video"):
            n = len(one[kind])
            assert len(times[kind]) == 3 * n
            shifts.append(times[kind][n * joint] - one[kind][0])
            assert all(step > 0 for step in steps(times[kind]))
        assert shifts[0] == shifts[1]


def test_joined_pictures_are_evenly_spaced(tmp_path):
    write_media(tmp_path / "a.ts", sounds=())
    (tmp_path / "joined.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    assert read(tmp_path / "joined.ts") == {"video": [k * STEP for k in range(20)]}


def test_times_do_not_depend_on_the_streams_asked_for(tmp_path):
    write_media(tmp_path / "a.ts", options={"output_ts_offset": "77"})
    (tmp_path / "joined.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    both = read(tmp_path / "joined.ts")
    assert read(tmp_path / "joined.ts", ("video",))["video"] == both["video"]
    assert read(tmp_path / "joined.ts", ("audio",))["audio"] == both["audio"]


def test_sound_that_primes_a_decoder_stays_before_zero(tmp_path):
    times = read(write_media(tmp_path / "a.mp4"))
    assert times["audio"][0] == -AUDIO_STEP
    assert times["video"] == [k * STEP for k in range(10)]


def test_a_pause_of_one_stream_is_no_jump():
    class Stream:
        def __init__(self, index, kind):
            self.index, self.type, self.disposition = index, kind, 0

    class Packet:
        def __init__(self, stream, seconds):
            self.stream, self.time_base = stream, Fraction(1)
            self.pts = self.dts = seconds
            self.duration, self.size = 1, 1

    class Container:
        streams = [Stream(0, "video"), Stream(1, "audio")]

    video, audio = Container.streams
    packets = [Packet(video, 0)]
    packets += [Packet(audio, second) for second in range(30)]
    packets += [Packet(video, 29), Packet(video, 30)]
    times = [p.pts for p in clock._Joints(Container).corrected(packets) if p.stream is video]
    assert times == [0, 29, 30]


def test_a_single_damaged_time_moves_nothing_behind_it():
    class Stream:
        index, type, disposition = 0, "video", 0

    class Packet:
        def __init__(self, seconds):
            self.stream, self.time_base = Stream, Fraction(1)
            self.pts = self.dts = seconds
            self.duration, self.size = 1, 1

    class Container:
        streams = [Stream]

    packets = [Packet(second) for second in (0, 1, 2, 90_000, 4, 5)]
    times = [packet.pts for packet in clock._Joints(Container).corrected(packets)]
    assert times[:3] == [0, 1, 2] and times[4:] == [4, 5]
