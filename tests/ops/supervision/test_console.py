"""A blocked or closed console does not block the stack."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from ops.supervision.console import LINES_WAITING_MAX, Console
from ops.supervision.listener import free_port
from tests.ops.stacks import environment
from tests.processes import ROOT


def test_lines_stand_in_columns_behind_their_names(capfd):
    console = Console(["api.1", "valkey"])

    console.say("api.1", "one\ntwo")
    console.say("valkey", "three")
    console.close()

    assert capfd.readouterr().out == "api.1  | one\napi.1  | two\nvalkey | three\n"


def test_a_terminal_gets_colours():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        console = Console(["api.1"], terminal)
        console.say("api.1", "hello")
        console.close()

        assert os.read(ours, 1024) == b"\x1b[36mapi.1 |\x1b[0m hello\r\n"
    os.close(ours)


def test_a_reader_that_went_away_is_no_fault():
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as nobody:
        console = Console(["api.1"], nobody)

        console.say("api.1", "is anybody there?")
        console.say("api.1", "no")
        console.close()

        assert not console.hung_up()


def test_a_reader_that_does_not_read_holds_nobody_up(monkeypatch):
    monkeypatch.setattr("ops.supervision.console.FLUSH_SECONDS_MAX", 0.1)
    read_end, write_end = os.pipe()
    console = Console(["api.1"], os.fdopen(write_end, "w"))

    for _ in range(2 * LINES_WAITING_MAX):
        console.say("api.1", "a line that is longer than the pipe is patient")
    console.close()

    # Only now does the writer come to an end, of a pipe that is closed.
    os.close(read_end)


def test_a_closed_terminal_ends_the_stack(folder):
    (folder / "Procfile").write_text("worker: python -c 'import signal; print(\"here\"); signal.pause()'\n")
    command = [sys.executable, "-m", "tests.ops.supervision.run_up", str(folder / "Procfile")]
    ours, theirs = pty.openpty()
    settings = environment(folder, embedded=False, PORT=str(free_port()))
    with subprocess.Popen(command, env=settings, cwd=ROOT, stdout=theirs, start_new_session=True) as stack:
        os.close(theirs)
        _read_until(ours, b"here")

        os.close(ours)

        assert stack.wait(20) == 0


def _read_until(descriptor, words):
    text = b""
    while words not in text:
        text += os.read(descriptor, 1024)
