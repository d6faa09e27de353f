from fractions import Fraction

import pytest

from lift.errors import LiftError
from lift.video.cut_list import KnownCuts, format_cut_list, read_cut_list


def write(folder, text, encoding="utf-8"):
    path = folder / "cuts.txt"
    path.write_text(text, encoding=encoding, newline="")
    return path


@pytest.mark.parametrize(
    "line, cut",
    (
        ("312", 312),
        ("12.48", Fraction("12.48")),
        ("12s", Fraction(12)),
        ("12.5s", Fraction("12.5")),
        (".5", Fraction("0.5")),
        ("00:00:12.480", Fraction("12.48")),
        ("1:02:03", Fraction(3723)),
        ("2:03,5", Fraction("123.5")),
        ("00:00:12:12", 312),
        ("01:00:00:00", 90000),
    ),
)
def test_a_cut_is_a_frame_or_a_time(tmp_path, line, cut):
    (found,) = read_cut_list(write(tmp_path, line + "\n"), 25)
    assert found == cut and type(found) is type(cut)


@pytest.mark.parametrize(
    "fps, line, frame",
    (
        (Fraction(24000, 1001), "00:01:00:00", 1440),
        (Fraction(30000, 1001), "00:01:00:00", 1800),
        (Fraction(30000, 1001), "00:01:00;02", 1800),
        (Fraction(30000, 1001), "00:10:00;00", 17982),
        (Fraction(60000, 1001), "00:01:00;04", 3600),
    ),
)
def test_a_timecode_counts_frames(tmp_path, fps, line, frame):
    assert read_cut_list(write(tmp_path, line), fps) == [frame]


def test_comments_blank_lines_and_further_columns_are_skipped(tmp_path):
    text = "\ufeff# cuts\r\n\r\n10  # the door\r\n20, 00:00:00.800\r\n\t30\t1.2s\r\n"
    assert read_cut_list(write(tmp_path, text), 25) == [10, 20, 30]
    assert read_cut_list(write(tmp_path, ""), 25) == []


HEADER = "Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame\n"
ROWS = "1,1,00:00:00.000,0.000,60\n2,61,00:00:02.400,2.400,90\n3,91,00:00:03.600,3.600,120\n"


@pytest.mark.parametrize("first", ("", "Timecode List:,00:00:02.400,00:00:03.600\n"))
def test_a_scene_list_of_pyscenedetect_is_read(tmp_path, first):
    assert read_cut_list(write(tmp_path, first + HEADER + ROWS)) == [60, 90]


def test_a_scene_list_may_have_times_alone(tmp_path):
    rows = "Scene,Start Timecode\n1,00:00:00.000\n2,00:00:02.400\n"
    assert read_cut_list(write(tmp_path, rows)) == [Fraction("2.4")]
    rows = "Start Time (seconds),Scene\n0.000,1\n2.400,2\n3,3\n"
    assert read_cut_list(write(tmp_path, rows)) == [Fraction("2.4"), 3]


@pytest.mark.parametrize(
    "line", ("twelve", "-3", "1:99:00", "00:00:75", "00:00:12:25", "00:00:61:00", "10 x", "1e3")
)
def test_an_error_names_the_file_and_the_line(tmp_path, line):
    with pytest.raises(LiftError, match=r"cuts\.txt, line 2: .*\d") as error:
        read_cut_list(write(tmp_path, f"10\n{line}\n"), 25)
    assert "\n" not in str(error.value)


def test_a_scene_list_with_a_wrong_row_names_it(tmp_path):
    with pytest.raises(LiftError, match=r"cuts\.txt, line 3: 'x'"):
        read_cut_list(write(tmp_path, "Scene,Start Frame\n1,1\n2,x\n"))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(LiftError, match="none.txt does not exist"):
        read_cut_list(tmp_path / "none.txt", 25)
    with pytest.raises(LiftError, match="UTF-8"):
        read_cut_list(write(tmp_path, "10\n", "utf-16"), 25)
    with pytest.raises(LiftError, match="frame rate .* not known"):
        read_cut_list(write(tmp_path, "00:00:01:00"), None)


def test_a_folder_is_no_list_of_cuts(tmp_path):
    with pytest.raises(LiftError, match="cannot be read .*; give a text file"):
        read_cut_list(tmp_path)


def test_a_written_list_is_read_again(tmp_path):
    cuts = [(12, Fraction(12, 25)), (90_000, Fraction(3600)), (90_001, Fraction(90_001, 25))]
    text = format_cut_list(cuts)
    assert text.splitlines()[1:] == [
        "12, 00:00:00.480",
        "90000, 01:00:00.000",
        "90001, 01:00:00.040",
    ]
    assert read_cut_list(write(tmp_path, text)) == [12, 90_000, 90_001]


def opened(known, times):
    decisions = [decision for time in times for decision in known.feed(None, time)]
    decisions += known.finish()
    assert len(decisions) == len(times)
    return [k for k, decision in enumerate(decisions) if decision]


TIMES = [Fraction(k, 25) for k in range(8)]


@pytest.mark.parametrize(
    "cuts, frames",
    (
        ([3, 5], [3, 5]),
        ([5, 3, 3, 0, 99], [3, 5]),
        ([Fraction("0.12"), Fraction(0)], [3]),
        ([Fraction("0.13")], [3]),
        ([Fraction("0.14")], [4]),
        ([Fraction("0.28"), Fraction("0.31")], [7]),
        ([Fraction(9)], []),
        ([1, Fraction("0.12")], [1, 3]),
        ([], []),
    ),
)
def test_known_cuts_lie_at_the_nearest_frame(cuts, frames):
    assert opened(KnownCuts(cuts), TIMES) == frames


def test_known_cuts_may_start_in_the_middle():
    assert opened(KnownCuts([3, 5, 12], first=4), TIMES) == [1]


@pytest.mark.parametrize("count", (0, 1))
def test_a_frame_alone_has_no_cut(count):
    assert opened(KnownCuts([0, 1, Fraction(1, 50)]), TIMES[:count]) == []


def test_seconds_need_the_times_of_the_frames():
    assert KnownCuts([3]).feed() == []
    with pytest.raises(ValueError, match="got None"):
        KnownCuts([Fraction(1)]).feed()
