"""Whole stacks for load tests: they are what their options say, and end with the process that started them."""

from __future__ import annotations

import subprocess
import sys

import httpx
import psutil
import pytest

from domain.accounts.accounts import Role
from ops.embedded.running import RunningStack
from ops.evidence.bulk import event_on_sale, mint, write_events
from ops.supervision.process import ProcessFailed
from tests.ops.stacks import lives, soon
from tests.processes import ROOT

STARTER = """
import sys, time
from pathlib import Path
from ops.embedded.running import RunningStack

with RunningStack(Path(sys.argv[1])) as stack:
    print(sorted(stack.parts()), flush=True)
    time.sleep(600)
"""


def test_a_stack_ends_when_the_process_that_started_it_is_killed(folder):
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    ) as starter:
        assert starter.stdout.readline() == b"['api', 'postgres', 'valkey', 'worker']\n"
        began = psutil.Process(starter.pid).children(recursive=True)

        starter.kill()

    assert len(began) > 4
    assert soon(lambda: not any(lives(each) for each in began), seconds=60)


def test_a_stack_sells_what_was_written_before_its_start(folder):
    async def write(settings):
        (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
        (buyer,) = await mint(settings, role=Role.ATTENDEE, count=1)
        event = event_on_sale(organizer_id=organizer.id, title="Written", capacity=1, max_per_user=1)
        await write_events(settings, [event])
        return event.id, buyer.token

    stack = RunningStack(folder, settings={"WORKER_PROCESSES": "2"})
    event_id, token = stack.furnish(write)

    with stack:
        booked = httpx.post(
            f"{stack.url}/api/v1/bookings",
            json={"event_id": str(event_id), "quantity": 1},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        workers = stack.parts()["worker"]

    assert booked.status_code == 202, booked.text
    assert len(workers) == 2
    assert not any(lives(each) for each in workers)


def test_a_stack_that_does_not_start_says_why(folder):
    with pytest.raises(ProcessFailed, match="API_PROCESSES"), RunningStack(folder, settings={"API_PROCESSES": "0"}):
        pytest.fail("it started")
