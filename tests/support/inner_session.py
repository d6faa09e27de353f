"""Runs of pytest inside a test, in the same process: no second start of Python and torch."""

import contextlib
import io
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
QUIET = ("cacheprovider", "benchmark", "faulthandler", "xdist")  # plugins that are left out


@dataclass
class Inner:
    """What a run did.

    Attributes:
        code: its exit code.
        order: names of the collected tests, in their order.
        outcomes: the outcome of each test that ran: "passed", "failed", "skipped" or "error".
        output: what it printed.
    """

    code: int = 0
    order: list[str] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    output: str = ""

    def pytest_collection_finish(self, session) -> None:
        self.order = [item.name.removeprefix("test_") for item in session.items]

    def pytest_runtest_logreport(self, report) -> None:
        name = report.nodeid.split("::")[-1].removeprefix("test_")
        if report.when == "call" or report.outcome != "passed":
            failed = "failed" if report.when == "call" else "error"
            self.outcomes[name] = failed if report.failed else report.outcome


def run(folder: Path, *arguments: str, plugins: tuple = ()) -> Inner:
    """Run the tests of a folder without a GPU, with the project's markers and these plugins."""
    found, output, modules = Inner(), io.StringIO(), set(sys.modules)
    flags = [word for name in QUIET for word in ("-p", f"no:{name}")]
    command = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-s", *flags]
    with contextlib.redirect_stdout(output), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        found.code = int(pytest.main([*command, *arguments, str(folder)], [found, *plugins]))
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    found.output = output.getvalue()
    return found
