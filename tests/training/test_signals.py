"""Stop requests: signals and the time limit."""

import os
import signal

import pytest

from lift.training.signals import StoppedAtOnce, StopRequest


def test_a_second_signal_ends_the_process_at_once():
    former = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell starts background jobs with SIGINT ignored
    try:
        with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.wanted and stop.cause == "SIGINT"
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, former)


def test_a_time_limit_in_the_past_is_a_stop_request():
    assert not StopRequest().wanted
    stop = StopRequest(1e-9)
    assert stop.wanted and stop.cause == "the time limit"


def test_a_signal_ends_at_once_what_has_nothing_to_lose():
    with StopRequest() as stop:
        stop.at_once = True
        with pytest.raises(StoppedAtOnce):
            signal.raise_signal(signal.SIGTERM)
        assert stop.cause == "SIGTERM"


def test_a_signal_at_once_is_not_for_processes_that_load_data():
    with StopRequest() as stop:
        stop.at_once = True
        child = os.fork()
        if child == 0:  # as in a loading process, which inherits the handlers
            code = 1
            try:
                signal.raise_signal(signal.SIGTERM)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
