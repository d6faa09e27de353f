"""The `lift` command finds the commands, starts fast, and answers a wrong name in one sentence."""

import runpy
import subprocess
import sys
from importlib.util import find_spec

import pytest

from lift import __version__, cli
from lift.errors import LiftError


def test_every_row_of_the_table_is_a_command():
    for name in cli.COMMANDS:
        module = cli.COMMANDS[name][0]
        assert find_spec(module), f"lift {name}: no module {module}"
        assert callable(cli.command(name)), f"lift {name}: {module} has no main"


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in cli.COMMANDS)


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lift {__version__}\n"


def test_no_command_shows_the_usage_as_a_mistake(capsys):
    assert cli.main([]) == 2
    assert "usage: lift" in capsys.readouterr().err


def test_an_unknown_command_is_one_sentence_with_the_close_one(capsys):
    assert cli.main(["trian"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "'trian'" in printed and "did you mean 'train'" in printed


ENDS = [
    (None, 0),
    (0, 0),
    (3, 3),
    (LiftError("no such clip; name a file"), 1),
    (KeyboardInterrupt(), 130),
]


@pytest.mark.parametrize("answer, code", ENDS)
def test_a_command_gets_its_arguments_and_gives_the_exit_code(answer, code, monkeypatch):
    seen = []

    def body(argv):
        seen.append(argv)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(cli, "command", lambda name: body)
    assert cli.main(["train", "--lr", "1"]) == code
    assert seen == [["--lr", "1"]]


def test_help_does_not_wait_for_torch():
    program = (
        "import sys; from lift.cli import main; assert main(['--help']) == 0; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_python_m_lift_is_lift(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lift", "nonsense"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("lift", run_name="__main__")
    assert stop.value.code == 2 and "unknown command 'nonsense'" in capsys.readouterr().err


def test_train_runs_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lift.train", "--no_such_flag"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("lift.train", run_name="__main__")
    assert stop.value.code == 2 and "--no_such_flag" in capsys.readouterr().err
