"""The machine a bench runs on, and the CPU time of processes with their children."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""What the kernel tells CPU time in."""

PPID, UTIME, CSTIME = 1, 11, 14
"""Fields of /proc/<pid>/stat after the name: the parent, then four sums of ticks, children that ended last."""


def cpu_seconds(root: int) -> float:
    """CPU time that a process and all it started have used, those included that have ended."""
    children: dict[int, list[int]] = defaultdict(list)
    ticks: dict[int, int] = {}
    # Listed, not globbed: a glob looks for each file itself, and fails for a process that has just ended.
    for pid in (int(each.name) for each in PROC.iterdir() if each.name.isdigit()):
        with suppress(OSError):
            # The name may hold spaces and brackets; everything after its last bracket is numbers.
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            ticks[pid] = sum(map(int, fields[UTIME : CSTIME + 1]))
            children[int(fields[PPID])].append(pid)
    family, total = [root], 0
    while family:
        pid = family.pop()
        total += ticks.get(pid, 0)
        family += children[pid]
    return total * TICK_S


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
