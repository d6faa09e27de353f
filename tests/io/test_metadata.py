from fractions import Fraction

import pytest

from lift.io.metadata import container_metadata, moved_timecode, stream_metadata


def test_metadata_of_the_encoding_is_left_behind():
    given = {"title": "A", "encoder": "x", "major_brand": "isom", "location": "+1", "BPS": "3"}
    assert container_metadata({**given, "location-eng": "+1"}) == {
        "title": "A",
        "location": "+1",
        "BPS": "3",
    }
    assert stream_metadata({"title": "A", "BPS-eng": "3", "language": "und"}, "matroska") == {
        "title": "A"
    }


def test_names_of_quicktime_parts_stay_in_quicktime():
    assert stream_metadata({"handler_name": "GoPro AAC"}, "matroska") == {}
    assert stream_metadata({"handler_name": "GoPro AAC"}, "mp4") == {"handler_name": "GoPro AAC"}


def test_titles_and_languages_are_written_as_quicktime_holds_them():
    titled = {"title": "Main", "language": "fre"}
    assert stream_metadata(titled, "mp4") == {**titled, "handler_name": "Main"}
    assert stream_metadata({**titled, "handler_name": "B"}, "mp4")["handler_name"] == "B"
    assert stream_metadata(titled, "mov")["language"] == "fra"
    assert stream_metadata(titled, "matroska") == titled


@pytest.mark.parametrize(
    "timecode, moved",
    (("01:00:00:12", "01:00:00:24"), ("01:00:00;00", "01:00:00;00"), ("noon", "noon")),
)
def test_frames_of_a_timecode_count_at_the_new_rate(timecode, moved):
    assert moved_timecode(timecode, Fraction(25), Fraction(50)) == moved


@pytest.mark.parametrize(
    "timecode, rate, seconds, moved",
    (
        ("10:00:00:00", 25, 1, "10:00:01:00"),
        ("10:00:00:20", 25, Fraction(4, 5), "10:00:01:15"),
        ("23:59:59:24", 25, Fraction(1, 25), "00:00:00:00"),
        ("00:00:59;29", Fraction(30000, 1001), Fraction(1001, 30000), "00:01:00;02"),
        ("00:09:59;29", Fraction(30000, 1001), Fraction(1001, 30000), "00:10:00;00"),
        ("01:00:00;00", Fraction(30000, 1001), Fraction(3600), "02:00:00;00"),
    ),
)
def test_a_timecode_starts_where_the_part_starts(timecode, rate, seconds, moved):
    assert moved_timecode(timecode, Fraction(rate), Fraction(rate), seconds) == moved
