"""Gaps in sound stay gaps, also in containers which count samples instead of stating times."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from lift.io.sound_gaps import GapFiller
from lift.io.streams import plan_streams
from lift.io.timing import Timing
from tests.support.media import RATE, encoded_picture, join, write_media

av = pytest.importorskip("av")


def changed(source, path, change):
    """A copy of a file; `change` gets each packet of sound, and drops it by returning False."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        streams = [written.add_stream_from_template(stream) for stream in read.streams]
        for packet in read.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and change(packet) is False:
                continue
            packet.stream = streams[packet.stream.index]
            written.mux(packet)
    return path


def without(start, end):
    return lambda packet: not start <= packet.pts * packet.time_base < end


def wave_of(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return np.concatenate(
        [frame.to_ndarray().reshape(-1)[:: frame.layout.nb_channels] for frame in frames]
    )


@pytest.mark.parametrize(
    "encoder, suffix",
    (
        *product(("pcm_s16le", "pcm_s24le"), (".mov", ".mp4", ".avi")),
        *product(("pcm_u8",), (".mov", ".avi")),  # MP4 holds no unsigned samples
    ),
)
def test_silence_fills_a_gap_of_copied_pcm(tmp_path, suffix, encoder):
    whole = write_media(tmp_path / "a.mkv", frames=25, sounds=(encoder,))
    source = changed(whole, tmp_path / "b.mkv", without(0.3, 0.6))
    wave = wave_of(join(tmp_path / f"c{suffix}", source)).astype(np.float64)
    wave = wave - 128 if encoder == "pcm_u8" else wave
    assert abs(len(wave) / RATE - 1) < 0.003
    loud = np.abs(wave).max()
    assert np.abs(wave[int(0.35 * RATE) : int(0.55 * RATE)]).max() == 0
    for part in (wave[: int(0.25 * RATE)], wave[int(0.65 * RATE) :]):
        assert np.abs(part).max() > 0.9 * loud
    untouched = wave_of(join(tmp_path / f"d{suffix}", whole)).astype(np.float64)
    assert len(untouched) == len(wave_of(whole))


def test_gaps_that_avi_closes_are_noted(tmp_path):
    source = write_media(tmp_path / "a.mkv", frames=25)
    with av.open(str(source)) as container:
        stream = container.streams.audio[0]
        filler, total = GapFiller(stream, closes_all=True), 0
        for packet in container.demux(stream):
            if packet.size and without(0.3, 0.6)(packet):
                total += sum(1 for _ in filler(packet))
        assert total > 10  # nothing is made up
    assert len(filler.notes()) == 1 and "0.3" in filler.notes()[0]
    assert GapFiller(stream, closes_all=False).notes() == []


def test_short_gaps_are_filled_where_sound_is_converted(tmp_path):
    whole = write_media(tmp_path / "a.mkv", frames=25, sounds=("flac",))

    def lose_some(packet):
        return int(packet.pts * packet.time_base / Fraction(1, 50)) % 4 != 2

    source = changed(whole, tmp_path / "b.mkv", lose_some)
    for factor in (1, 2):
        timing = Timing(factor=Fraction(factor))
        path = join(tmp_path / f"{factor}.mp4", source, timing=timing, sound="stretch")
        assert abs(len(wave_of(path)) / RATE - factor) < 0.07


def test_sound_that_an_edit_hides_at_the_beginning_can_be_converted(tmp_path):
    whole = write_media(tmp_path / "a.mkv", frames=25)

    def earlier(packet):
        packet.pts -= round(Fraction(1, 8) / packet.time_base)
        packet.dts = packet.pts

    source = changed(whole, tmp_path / "b.mp4", earlier)
    with encoded_picture(4, "libx264") as (template, _):
        timing = Timing(factor=Fraction(2))
        plan = plan_streams(source, ".mp4", template=template, timing=timing, sound="stretch")
    assert [stream.encoder for stream in plan.streams] == ["aac"] and not plan.notes


def test_codecs_whose_times_avi_loses_are_converted(tmp_path):
    source = write_media(tmp_path / "a.mkv", sounds=("eac3", "ac3"))
    with encoded_picture(4, "libx264") as (template, _):
        plan = plan_streams(source, ".avi", template=template)
    assert [stream.action for stream in plan.streams] == ["convert", "copy"]
