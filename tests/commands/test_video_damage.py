"""Damaged, truncated and joined files: the run goes on with a note, unless --strict."""

import pytest

from tests.support import video_output as out
from tests.support.video_checks import (
    Row,
    noted_at_any_time,
    picture_ends_at,
    rising,
    says,
    starts_at,
    table,
)

pytestmark = pytest.mark.videos


def at_least(count: int):
    """Nearly all frames that the undamaged file had are there."""

    def check(run):
        assert len(out.decode(run.output)) >= count

    return check


def noted_damage(run):
    """A note says that something is damaged, or where the file ends."""
    words = ("damaged", "truncated", "could not be decoded", "cut short", "ends")
    assert any(run.noted(word) for word in words), run.out


GOES_ON = (starts_at(0), rising, noted_damage)


@table(
    Row("V17b-lost_packet", "v17_lostpacket.ts", "o.mp4", (*GOES_ON, at_least(75))),
    Row("V17b-lost_packet_mkv", "v17_lostpacket.ts", "o.mkv", (*GOES_ON, at_least(75))),
    Row("V17b-lost_packet_folder", "v17_lostpacket.ts", "o", (noted_damage,)),
    Row("V17b-overwritten", "v17_corrupt.mp4", "o.mp4", (*GOES_ON, at_least(70))),
    Row("V17b-overwritten_mkv", "v17_corrupt.mkv", "o.mkv", (*GOES_ON, at_least(50))),
    Row("V17b-overwritten_ts", "v17_corrupt.ts", "o.mp4", (*GOES_ON, at_least(60))),
    Row("V17b-truncated", "v17_trunc_fs.mp4", "o.mp4", (*GOES_ON, at_least(41))),
    Row("V17b-truncated_mkv", "v17_trunc_full.mkv", "o.mkv", (*GOES_ON, at_least(35))),
    Row("V17b-truncated_ts", "v17_trunc_full.ts", "o.mp4", (starts_at(0), at_least(41))),
    Row("V17b-truncated_avi", "v17_trunc_full.avi", "o.mp4", (starts_at(0), at_least(41))),
)
def test_a_damaged_packet_does_not_lose_the_run(lift_file, row):
    row.check(lift_file)


@table(
    *(
        Row(f"V17b-{name}", name, "o.mp4", (says("after frame"),), ("--strict",), code=1)
        for name in ("v17_lostpacket.ts", "v17_corrupt.mp4", "v17_trunc_fs.mp4")
    )
)
def test_strict_stops_at_damage_and_names_the_place(lift_file, row):
    row.check(lift_file)


@table(
    Row("V17b-whole", "v17_full.ts", "o.mp4", (at_least(79),), ("--strict",)),
    Row("V17b-b_frames", "v22_og.ts", "o.mp4", (at_least(47),), ("--strict",)),
)
def test_strict_accepts_what_is_whole(lift_file, row):
    row.check(lift_file)


@table(
    Row("V17b-no_header", "v17_trunc_full.mp4", "o.mp4", (says("not a readable video"),), code=1),
    Row("V17b-empty", "v17_empty.mp4", "o.mp4", (says("not a readable video"),), code=1),
    Row("V17b-random", "v17_random.mp4", "o.mp4", (says("not a readable video"),), code=1),
    Row("V17b-text", "v17_text.mp4", "o.mp4", (says("not a readable video"),), code=1),
)
def test_what_is_no_video_is_one_sentence(lift_file, row):
    row.check(lift_file)


def one_size(run):
    assert len({(f.width, f.height) for f in out.decode(run.output)}) == 1


@table(
    Row("V17b-joined", "v30_joined.ts", "o.mp4", (at_least(47), picture_ends_at(0.96, 0.06))),
    Row("V17b-joined_mkv", "v30_joined.ts", "o.mkv", (rising, picture_ends_at(0.96, 0.06))),
    Row(
        "V17b-size_change",
        "v30_reschange.ts",
        "o.mp4",
        (at_least(40), one_size, rising, picture_ends_at(0.96, 0.06), noted_at_any_time("size")),
    ),
)
def test_joined_recordings_and_a_change_of_size_go_on(lift_file, row):
    row.check(lift_file)
