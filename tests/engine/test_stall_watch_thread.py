# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A thread speaks when another one stays in one place, and goes with it."""

import sys
import threading
import time

import pytest

from ca2st_mm.utils.stall_watch import StallWatch

PATIENCE = 0.2


@pytest.fixture
def watch():
    watch = StallWatch(PATIENCE)
    yield watch
    watch.stop()


def watch_this(watch, said):
    """Start the watch over the function that calls this."""
    watch.enter(str, 'begin')
    watch.start(sys._getframe(1), lambda *report: said.append(report))


def threads():
    return [t for t in threading.enumerate() if t.name == 'StallWatch']


def wait_until_gone(count=0):
    deadline = time.monotonic() + 10
    while len(threads()) > count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(threads()) == count


def test_each_silence_is_reported_when_it_has_doubled(watch):
    said = []
    watch_this(watch, said)
    time.sleep(4 * PATIENCE)
    watch.stop()
    lengths = [silence for _, silence, _ in said]
    assert len(lengths) >= 2 and lengths[0] >= PATIENCE
    pairs = zip(lengths, lengths[1:], strict=False)
    assert all(later >= 2 * earlier for earlier, later in pairs)
    assert {what for what, _, _ in said} == {'begin'}


def test_a_new_stage_is_given_the_whole_time_again(watch):
    said = []
    watch_this(watch, said)
    time.sleep(2 * PATIENCE)
    entered = time.monotonic()
    watch.enter('{} of {}'.format, 1, 2)  # put into words for a report only
    time.sleep(2 * PATIENCE)
    watch.stop()
    assert said[0][0] == 'begin'
    silence = next(length for what, length, _ in said if what == '1 of 2')
    assert PATIENCE <= silence <= time.monotonic() - entered


def stand_still():
    time.sleep(2 * PATIENCE)


def test_the_stack_reaches_from_the_function_to_its_innermost_call(watch):
    said = []

    def run():
        watch_this(watch, said)
        stand_still()

    run()
    [(_, _, stack), *_] = said
    files = stack.count('  File ')
    assert files == 2 and ', in run\n' in stack
    assert stack.endswith('in stand_still\n    time.sleep(2 * PATIENCE)')


@pytest.mark.parametrize('error', [None, ValueError, KeyboardInterrupt])
def test_the_watch_ends_with_the_function(watch, error):
    def run():
        watch_this(watch, [])
        assert len(threads()) == 1 and threads()[0].daemon
        if error:
            raise error

    if error:
        with pytest.raises(error) as kept:  # its traceback holds the frame
            run()
        wait_until_gone()
        assert kept.tb is not None
    else:
        run()
        wait_until_gone()


def test_it_ends_with_its_thread(watch):
    def run():
        watch_this(watch, [])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    wait_until_gone()


def test_it_stays_while_generators_and_calls_come_and_go(watch):
    said = []

    def run():
        watch_this(watch, said)
        end = time.monotonic() + 4 * PATIENCE
        while time.monotonic() < end:
            watch.enter(str, 'busy')
            sum(x for x in range(1000))
        assert len(threads()) == 1

    run()
    assert said == []


def test_a_second_start_replaces_the_first(watch):
    watch_this(watch, [])
    watch_this(watch, [])
    assert len(threads()) == 1
    watch.stop()
    watch.stop()  # once more is no harm
    assert threads() == []
