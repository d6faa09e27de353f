"""How a command ends: sentences, exit codes, signals, and streams that somebody has closed."""

import ctypes
import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lift import errors
from lift.errors import (
    LiftError,
    Terminated,
    callback,
    cleanup_on_signals,
    report_error,
    run,
    say,
)
from lift.files import atomic

ROOT = Path(__file__).resolve().parent.parent


def failing(error):
    def command(argv):
        raise error

    return command


@pytest.mark.parametrize(
    "error, code, text",
    (
        (LiftError("no such file"), 1, "lift: error: no such file\n"),
        (OSError(errno.ENOSPC, "No space left", "a.mp4"), 1, "lift: error: No space left (a.mp4)"),
        (KeyboardInterrupt(), 130, "lift: interrupted\n"),
        (Terminated(15), 143, "lift: stopped by SIGTERM\n"),
        (Terminated(1), 129, "lift: stopped by SIGHUP\n"),
    ),
)
def test_an_error_is_one_sentence_and_an_exit_code(capsys, error, code, text):
    assert run(failing(error), []) == code
    out, err = capsys.readouterr()
    assert err.startswith(text) and err.count("\n") == 1 and out == ""


@pytest.mark.parametrize(
    "number, error",
    (
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, Terminated),
        (signal.SIGHUP, Terminated),
    ),
)
def test_a_second_signal_does_not_stop_the_cleanup(number, error):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    cleaned = False
    with pytest.raises(error), cleanup_on_signals():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            signal.raise_signal(signal.SIGTERM)
            cleaned = True
    assert cleaned
    assert {each: signal.getsignal(each) for each in before} == before


@pytest.mark.parametrize("number, error", ((signal.SIGINT, KeyboardInterrupt), (15, Terminated)))
def test_a_signal_in_a_callback_of_c_code_raises_after_it(number, error, capfd):
    ended = []

    @callback
    def compare(left, right):  # by the C library, which knows no exceptions
        signal.raise_signal(number)
        ended.append(True)
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    items = (ctypes.c_int * 2)(2, 1)
    with pytest.raises(error), cleanup_on_signals():
        ctypes.CDLL(None).qsort(items, 2, ctypes.sizeof(ctypes.c_int), kind(compare))
        assert ended
        time.sleep(10)
    assert capfd.readouterr().err == ""


def test_a_cleanup_that_hangs_can_be_ended(monkeypatch):
    monkeypatch.setattr(errors, "PATIENCE", 0)
    with pytest.raises(Terminated), cleanup_on_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Terminated:
            signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_the_caller_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with cleanup_on_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_full_disk_names_the_file_that_is_written_and_a_remedy(tmp_path, capsys):
    def command(argv):
        with atomic(tmp_path / "scores.json"):
            raise OSError(errno.ENOSPC, "No space left on device")  # as write() raises it

    assert run(command, []) == 1
    error = capsys.readouterr().err
    assert f"No space left on device ({tmp_path / 'scores.json'}); free some space" in error
    assert not any(tmp_path.iterdir())


class BrokenPipe(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_reader_that_has_ended_is_no_error(monkeypatch):
    say("a line", stream=BrokenPipe())
    monkeypatch.setattr(sys, "stderr", BrokenPipe())
    report_error(LiftError("no"))
    assert run(failing(LiftError("no")), []) == 1


def test_an_op_without_a_backend_is_one_sentence_and_other_runtime_errors_are_not(capsys):
    from lift import kernels

    error = kernels.UnsupportedError("warp: no fused backend supports this call (no GPU)")
    assert run(failing(error), []) == 1
    assert capsys.readouterr().err == f"lift: error: --kernels: {error}\n"
    with pytest.raises(RuntimeError, match="a mistake"):
        run(failing(RuntimeError("a mistake")), [])


def test_closed_streams_are_replaced_by_empty_ones(tmp_path):
    code = (
        "import os, sys; from lift.errors import run, say\n"
        "def command(argv):\n"
        "    assert sys.stdin.read() == ''\n"
        "    say('nobody'); say('reads', stream=sys.stderr)\n"
        "    with open('video', 'w') as file: assert file.fileno() > 2\n"
        "    os.write(2, b'message of a library')\n"
        "sys.exit(run(command, []))"
    )
    shell = ("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-')
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*shell, sys.executable, "-c", code], cwd=tmp_path, env=environment)
    assert done.returncode == 0 and (tmp_path / "video").read_bytes() == b""
