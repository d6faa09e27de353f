"""Stop requests: signals and the time limit."""

import signal

import pytest

from lift.training.signals import StopRequest


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
