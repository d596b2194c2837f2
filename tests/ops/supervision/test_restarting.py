"""A process that dies is restarted, with a longer delay each time it dies soon."""

from __future__ import annotations

import os
import signal
import urllib.request

from ops.supervision.restarts import (
    HEALTHY_SECONDS,
    RESTART_DELAY_SECONDS_MAX,
    RESTART_DELAY_SECONDS_MIN,
    Keeper,
)

DYING_WORKER = "raise SystemExit(3)"


class Mortal:
    """A process that dies when told to."""

    name = "mortal"

    def __init__(self):
        self.code = None
        self.starts = 0

    def spawn(self):
        self.starts += 1
        self.code = None

    def poll(self):
        return self.code


def test_a_killed_worker_is_started_again(start):
    stack = start()
    stack.wait_until_ready()
    stack.wait_until(lambda: len(stack.worker_pids()) == 1)

    os.kill(stack.worker_pids()[0], signal.SIGKILL)

    stack.wait_until(lambda: len(stack.worker_pids()) == 2)
    assert stack.said("was ended by signal 9; starts again in 0.1 s")


def test_a_worker_that_dies_at_once_is_started_less_and_less_often(start):
    stack = start(worker=DYING_WORKER)

    stack.wait_until_it_says("starts again in 0.4 s")

    delays = [line.rsplit(" in ", 1)[1] for line in stack.said("ended with 3; starts again")]
    assert delays[:3] == ["0.1 s", "0.2 s", "0.4 s"]


def test_a_killed_api_process_keeps_the_port_open(start):
    stack = start()
    stack.wait_until_ready()
    url = f"http://127.0.0.1:{stack.port}/"
    with urllib.request.urlopen(url, timeout=5) as answer:
        first = int(answer.read())

    os.kill(first, signal.SIGKILL)

    # Not refused, but answered as soon as the next process is there.
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert int(answer.read()) != first


def test_killed_servers_are_started_again(start):
    stack = start(embedded=True)
    stack.wait_until_ready()
    servers = {process.name(): process for process in stack.processes() if process.ppid() == stack.pid}

    servers["postgres"].kill()
    servers["valkey-server"].kill()

    # One that was killed may still be listed: only its end's having been noticed says that it is another.
    stack.wait_until(lambda: len(stack.said("was ended by signal 9; starts again")) >= 2)
    stack.wait_until(lambda: servers.keys() <= {process.name() for process in stack.processes()})


def test_the_delay_doubles_up_to_its_maximum_and_starts_afresh_after_a_healthy_life():
    mortal = Mortal()
    keeper = Keeper(mortal, now=0.0)
    now, delays = 0.0, []
    for _ in range(8):
        mortal.code = 1
        keeper.tick(now)
        delays.append(_seconds_until_started(keeper, mortal, now))
        now += delays[-1]

    mortal.code = 1
    keeper.tick(now + HEALTHY_SECONDS + 1)

    assert delays[0] == RESTART_DELAY_SECONDS_MIN
    assert delays[1] == 2 * RESTART_DELAY_SECONDS_MIN
    assert delays[-1] == RESTART_DELAY_SECONDS_MAX
    assert keeper.delay_seconds == 2 * RESTART_DELAY_SECONDS_MIN


def _seconds_until_started(keeper, mortal, now):
    """How long the keeper waits, found by asking it at the multiples of the shortest wait."""
    starts = mortal.starts
    for number in range(1, 100):
        waited = round(number * RESTART_DELAY_SECONDS_MIN, 3)
        keeper.tick(now + waited + 1e-6)
        if mortal.starts > starts:
            return waited
    message = "never started again"
    raise AssertionError(message)
