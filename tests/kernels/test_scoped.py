"""A scoped setting: whose blocks overlap, in threads, tasks and generators."""

import _thread
import asyncio
import threading
import time

from lift.kernels.scoped import Scoped


def test_nested_blocks_restore_what_they_found():
    setting = Scoped("test")
    with setting.set("outer"):
        with setting.set("inner"):
            assert setting.get() == "inner"
        assert setting.get() == "outer"
    assert setting.get() is None


def test_a_thread_has_its_own_value():
    setting, barrier, seen = Scoped("test"), threading.Barrier(2, timeout=10), {}

    def work(value, ends_first):
        with setting.set(value):
            barrier.wait()
            seen[value] = [setting.get()]
            if not ends_first:
                barrier.wait()
                seen[value].append(setting.get())
        if ends_first:
            barrier.wait()
        seen[value].append(setting.get())

    threads = [threading.Thread(target=work, args=job) for job in (("a", True), ("b", False))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"a": ["a", None], "b": ["b", "b", None]} and setting.get() is None


def test_a_task_has_its_own_value_and_inherits_one():
    setting = Scoped("test")

    async def work(value, seconds):
        inherited = setting.get()
        with setting.set(value):
            await asyncio.sleep(seconds)
            return inherited, setting.get()

    async def main():
        with setting.set("outer"):
            return await asyncio.gather(work("a", 0.01), work("b", 0.02)), setting.get()

    assert asyncio.run(main()) == ([("outer", "a"), ("outer", "b")], "outer")
    assert setting.get() is None


def test_generators_may_end_in_the_order_of_their_start():
    setting = Scoped("test")

    def work(value):
        with setting.set(value):
            yield

    first, second = work("a"), work("b")
    next(first), next(second)
    first.close()
    assert setting.get() == "b"
    second.close()
    assert setting.get() is None


def test_a_thread_that_python_did_not_start_has_the_main_threads_value():
    """As those of autograd, which compute checkpoints again."""
    setting, seen = Scoped("setting"), []
    with setting.set("main"):
        _thread.start_new_thread(lambda: seen.append(setting.get()), ())
        end = time.monotonic() + 10
        while not seen and time.monotonic() < end:
            time.sleep(0.001)
    assert seen == ["main"] and setting.get() is None
