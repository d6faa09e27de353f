"""The time budget of pytest runs on a GPU, and the order of tests under it."""

import re

import pytest

from tests.support.gpu_script import pytest_of

BUDGET = ("-p", "benchmarks.harness.budget")
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("budget")
    (found / "test_cases.py").write_text(CASES)
    (found / "test_slow.py").write_text(SLOW)
    return found


def test_what_no_time_is_left_for_is_skipped_and_counted(folder):
    ran = pytest_of(*BUDGET, "--budget", "0.4", str(folder / "test_slow.py"))
    assert ran.returncode == 0 and "2 passed, 2 skipped" in ran.stdout
    assert "skipped, out of time: 2 of 4" in ran.stdout


def test_every_test_has_its_first_case_before_any_has_its_second(folder):
    ran = pytest_of(*BUDGET, "--in-turn", "-v", str(folder))
    assert "9 passed" in ran.stdout  # without a budget nothing is skipped
    order = ["one[0]", "other[0]", "alone", "slow[0]", "one[1]", "other[1]", "slow[1]"]
    assert re.findall(r"::test_(\S+)", ran.stdout) == [*order, "slow[2]", "slow[3]"]
