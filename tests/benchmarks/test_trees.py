"""Two trees timed in turn: what runs where, and the table."""

import json
from pathlib import Path

import pytest

from benchmarks import trees
from benchmarks.harness import tree_work
from benchmarks.report import cost

RECORD = {
    "before": "aaaa",
    "now": "bbbb",
    "processor": "one",
    "threads": 2,
    "rounds": 1,
    "rows": [{"work": "stream", "before": [0.3, 0.2, 0.4], "now": [0.1, 0.2, 0.15]}],
}


def test_the_table_shows_the_least_milliseconds():
    assert "| stream | 200 | 100 | 2.00x |" in cost.on_a_cpu(RECORD)
    assert "Commits aaaa and bbbb, 1 rounds, 2 threads.\none" in cost.on_a_cpu(RECORD)


def test_each_tree_runs_every_workload_in_turn(monkeypatch):
    ran = []

    def run(*command, tree=None):
        ran.append((tree, command[2]))
        return "a warning\n" + json.dumps([len(ran)])

    monkeypatch.setattr(trees, "_run", run)
    found = trees.measured([Path("a"), None], trees.TOY, rounds=2, threads=1)
    works = [work.arguments[0] for work in trees.TOY]
    assert ran == [(tree, work) for tree in (Path("a"), None) * 2 for work in works]
    assert found == [[[1, 5], [3, 7]], [[2, 6], [4, 8]]]


def test_work_that_fails_ends_the_run():
    with pytest.raises(SystemExit, match="error: .* failed"):
        trees.measured([None], [trees.Workload("none", ("stream", "x"))], 1, 1)


def test_a_stream_and_a_step_are_timed():
    assert len(tree_work.stream(32, 48, 2)) == 2 and len(tree_work.step(64, 1, 1)) == 1
