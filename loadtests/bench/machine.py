"""The machine a bench runs on, and the CPU time of processes with their children."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

import psutil


def cpu_seconds(root: int) -> float:
    """CPU time of a process and of everything it started, children that have ended included."""
    family = [psutil.Process(root)]
    family += family[0].children(recursive=True)
    total = 0.0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def description() -> dict[str, object]:
    """What a reader of figures wants to know of the machine."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
