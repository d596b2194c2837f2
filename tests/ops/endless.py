"""A test that starts everything and never ends; `test_interrupting` interrupts it."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def test_without_end(processes):
    processes.api()
    processes.worker()

    Path(os.environ["STARTED_FILE"]).touch()
    signal.pause()
