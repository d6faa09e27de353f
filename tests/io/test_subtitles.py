import io
from fractions import Fraction

import pytest

from lift.io.subtitles import SubtitleConverter
from lift.io.timing import WHOLE, Timing
from tests.support.media import SRT

av = pytest.importorskip("av")

MARKED = b"1\n00:00:01,000 --> 00:00:03,000\n<i>One</i>\nTwo\n"


def convert(text: bytes, encoder: str, timing: Timing):
    """(start, duration, data) of the subtitles of an SRT file in another codec, seconds."""
    format_name = {"mov_text": "mp4", "webvtt": "webm", "subrip": "matroska"}[encoder]
    with av.open(io.BytesIO(text), format="srt") as source:
        output = av.open(io.BytesIO(), "w", format=format_name)
        target = output.add_stream(encoder)
        converter = SubtitleConverter(source.streams[0], target, timing)
        packets = [ready for packet in source.demux() for ready in converter.convert(packet)]
        assert converter.flush() == []
    return [
        (packet.pts * packet.time_base, packet.duration * packet.time_base, bytes(packet))
        for packet in packets
    ]


@pytest.mark.parametrize("encoder", ("mov_text", "webvtt", "subrip"))
def test_words_and_times_are_kept(encoder):
    first, second = convert(SRT, encoder, WHOLE)
    assert first[:2] == (Fraction(1, 10), Fraction(1, 10)) and b"Hello" in first[2]
    assert second[:2] == (Fraction(1, 4), Fraction(1, 10)) and "Wörld".encode() in second[2]


def test_lines_and_italics_survive():
    ((_, _, data),) = convert(MARKED, "subrip", WHOLE)
    assert b"<i>One</i>" in data and b"Two" in data


def test_a_cut_shortens_a_subtitle():
    timing = Timing(Fraction(2), Fraction(5, 2), Fraction(2))
    ((start, duration, _),) = convert(MARKED, "subrip", timing)
    assert (start, duration) == (0, 1)


def test_subtitles_outside_a_cut_are_left_out():
    assert convert(MARKED, "subrip", Timing(Fraction(4))) == []
