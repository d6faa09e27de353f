"""The time budget of pytest runs on a GPU, and the order of tests under it."""

import pytest

from benchmarks.harness import budget
from tests.support.inner_session import run

SLOW = """import time, pytest
@pytest.mark.parametrize("i", range(4))
def test_slow(i):
    time.sleep(0.5 * (i == 1))
"""
CASES = """import pytest
every = pytest.mark.parametrize("i", range(2))
@every
def test_one(i): ...
@every
def test_other(i): ...
def test_alone(): ...
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "test_slow.py").write_text(SLOW)
    return tmp_path


@pytest.mark.slow
def test_what_no_time_is_left_for_is_skipped_and_counted(folder):
    (folder / "test_cases.py").unlink()
    ran = run(folder, "--budget", "0.4", plugins=(budget,))
    assert ran.code == 0 and list(ran.outcomes.values()) == 2 * ["passed"] + 2 * ["skipped"]
    assert "skipped, out of time: 2 of 4" in ran.output


@pytest.mark.slow
def test_every_test_has_its_first_case_before_any_has_its_second(folder):
    ran = run(folder, "--in-turn", plugins=(budget,))
    first, second = ["one[0]", "other[0]", "alone", "slow[0]"], ["one[1]", "other[1]", "slow[1]"]
    assert ran.order == [*first, *second, "slow[2]", "slow[3]"]
    assert set(ran.outcomes.values()) == {"passed"}  # without a budget nothing is skipped
