import pytest

from lift.io.timecode import fields_of, frame_number


@pytest.mark.parametrize("nominal", (24, 25, 30, 60))
@pytest.mark.parametrize("drops", (False, True))
def test_frames_and_timecodes_are_inverse(nominal, drops):
    drops = drops and nominal % 30 == 0
    for number in (*range(0, 130 * nominal), *range(599 * nominal, 662 * nominal), 10**7):
        assert frame_number(*fields_of(number, nominal, drops), nominal, drops) == number


def test_drop_frame_leaves_out_numbers_but_every_tenth_minute():
    assert fields_of(1799, 30, True) == (0, 59, 29)
    assert fields_of(1800, 30, True) == (1, 0, 2)
    assert fields_of(3600, 60, True) == (1, 0, 4)
    assert fields_of(17982, 30, True) == (10, 0, 0)
