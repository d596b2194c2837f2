"""A stack leaves no process behind, whatever ended it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.ops.stacks import soon
from tests.processes import ROOT

STUBBORN_WORKER = """\
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("working as", os.getpid(), flush=True)
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_process_in_good_order(start, number):
    stack = start(embedded=True)
    stack.wait_until_ready()

    stack.signal(number)
    code = stack.wait()

    assert code == 0
    assert stack.processes() == []
    assert stack.said("stopping")
    assert stack.said("stopped")


def test_kill_9_of_the_launcher_leaves_no_process(start):
    stack = start(embedded=True)
    stack.wait_until_ready()
    before = stack.processes()

    stack.signal(signal.SIGKILL)
    stack.wait()

    assert len(before) > 4
    assert soon(lambda: stack.processes() == [])


def test_kill_9_of_the_launcher_ends_a_worker_that_ignores_signals(start):
    stack = start(worker=STUBBORN_WORKER)
    stack.wait_until_ready()
    stack.wait_until(lambda: bool(stack.worker_pids()))

    stack.signal(signal.SIGKILL)
    stack.wait()

    assert soon(lambda: stack.processes() == [])


def test_a_stack_that_was_killed_starts_again_at_once_on_the_same_port_and_data(start):
    first = start(embedded=True)
    first.wait_until_ready()
    first.signal(signal.SIGKILL)
    first.wait()

    second = start(embedded=True, PORT=str(first.port))
    second.wait_until_ready()
    second.wait_until(lambda: bool(second.worker_pids()))

    assert second.port == first.port


def test_it_ends_when_the_process_that_started_it_is_killed():
    """As with `make run`: killing make ends the stack."""
    child = (
        "import signal; from ops.commands.up import end_with_parent\n"
        "end_with_parent(); print('up', flush=True); signal.pause()"
    )
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen([sys.executable, "-c", parent, child], stdout=subprocess.PIPE, cwd=ROOT) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"up\n"

        launcher.kill()

        # A pipe ends when the last process that could write to it is gone.
        assert launcher.stdout.read() == b""
