"""Threads that read ahead and write behind: order, bounds, errors, and no thread left over."""

import threading
import time
from contextlib import closing

import pytest

from lift.video.threads import WriteBehind, read_ahead


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_items_come_in_order_from_another_thread():
    def items():
        for k in range(50):
            yield k, threading.current_thread()

    found = list(read_ahead(items(), 2))
    assert [k for k, _ in found] == list(range(50))
    assert {thread.name for _, thread in found} == {"lift reader"}


def test_no_more_is_read_than_there_is_room_for():
    read = []
    ahead = read_ahead((read.append(k) or k for k in range(50)), 2)
    next(ahead)
    time.sleep(0.3)
    assert len(read) <= 4  # given out, waiting, in the maker's hand
    ahead.close()


def test_a_loop_that_ends_early_closes_what_it_reads():
    closed = []

    def items():
        try:
            yield from range(50)
        finally:
            closed.append(threading.current_thread().name)

    with closing(read_ahead(items(), 2)) as ahead:
        assert [next(ahead), next(ahead)] == [0, 1]
    assert closed == ["lift reader"]


@pytest.mark.parametrize("kind", (ValueError, KeyboardInterrupt))
def test_an_error_comes_where_it_was_met(kind):
    def items():
        yield 1
        raise kind("broken")

    ahead = read_ahead(items(), 2)
    assert next(ahead) == 1
    with pytest.raises(kind, match="broken"):
        next(ahead)


def test_calls_are_made_in_order_and_all_before_the_end():
    done = []
    with WriteBehind(lambda k: (time.sleep(0.002), done.append(k)), 2) as write:
        for k in range(30):
            write(k)
            assert len(done) >= k - 3  # waiting, and the one being made
    assert done == list(range(30))


@pytest.mark.parametrize("at", (0, 29))
def test_an_error_of_a_call_reaches_the_caller(at):
    def call(k):
        if k == at:
            raise OSError("disk full")
        done.append(k)

    done = []
    with pytest.raises(OSError, match="disk full"), WriteBehind(call, 2) as write:
        for k in range(30):
            write(k)
    assert done == list(range(at))


def test_calls_that_have_not_begun_are_dropped_when_the_block_fails():
    begun, go, done = threading.Event(), threading.Event(), []

    def call(k):
        begun.set()
        go.wait(10)
        done.append(k)

    with pytest.raises(KeyboardInterrupt), WriteBehind(call, 8) as write:
        for k in range(5):
            write(k)
        begun.wait(10)
        threading.Timer(0.2, go.set).start()
        raise KeyboardInterrupt
    time.sleep(0.05)
    assert done == [0]
