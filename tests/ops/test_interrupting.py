"""A run of the tests leaves no process behind, whatever ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from ops.supervision.launcher import launcher
from tests.ops.stacks import lives, soon
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVERS_AND_PROCESSES = 4
"""PostgreSQL, Valkey, the API and a worker, at least: PostgreSQL is several."""

START_SECONDS_MAX = 120.0
"""What takes ten seconds alone takes longer beside other tests."""

END_SECONDS_MAX = 120.0
"""An interrupted run waits ten seconds for each of its processes before it kills them."""

pytestmark = pytest.mark.timeout(300)


class Run:
    """A run of pytest that came to a test without end; `began` are the processes that it had then."""

    def __init__(self, folder: Path, *options: str) -> None:
        started = folder / "started"
        self.popen = subprocess.Popen(
            launcher(
                [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "tests/ops/endless.py"],
                death_signal=signal.SIGKILL,
            ),
            cwd=ROOT,
            env=_environment() | {"STARTED_FILE": str(started), "TMPDIR": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert soon(started.exists, seconds=START_SECONDS_MAX)
        self.process = psutil.Process(self.popen.pid)
        self.began = self.process.children(recursive=True)

    def left(self) -> list[psutil.Process]:
        """Those of its processes that live on."""
        return [each for each in self.began if lives(each)]


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., Run]]:
    """Starts runs; whatever they do, they are gone afterwards."""
    runs: list[Run] = []

    def start(*options: str) -> Run:
        runs.append(Run(folder, *options))
        return runs[-1]

    yield start
    for each in runs:
        each.popen.kill()
        each.popen.wait()
        for process in each.left():
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (signal.SIGKILL, ()),
        (signal.SIGINT, ("-n", "1")),
        (signal.SIGTERM, ("-n", "1")),
        (signal.SIGKILL, ("-n", "1")),
    ],
)
def test_a_run_that_is_ended_leaves_no_process(run, number, options):
    ended = run(*options)

    ended.popen.send_signal(number)
    ended.popen.wait(timeout=END_SECONDS_MAX)

    assert len(ended.began) > SERVERS_AND_PROCESSES
    assert soon(lambda: ended.left() == [])


def test_a_process_of_a_run_that_is_killed_takes_what_it_started_with_it(run):
    whole = run("-n", "1", "--max-worker-restart", "0")
    (process,) = [each for each in whole.process.children() if each.children() and "python" in each.name()]
    its_own = process.children(recursive=True)

    process.kill()

    assert len(its_own) > 2
    assert soon(lambda: not any(lives(each) for each in its_own))


def _environment() -> dict[str, str]:
    """Ours, without what a run of several processes tells each of them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
