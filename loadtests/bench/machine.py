"""The machine a bench runs on: CPU time of processes with their children, and the cores they may use."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc")

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""What the kernel tells CPU time in."""

PPID, UTIME, CSTIME = 1, 11, 14
"""Fields of /proc/<pid>/stat after the name: the parent, then four sums of ticks, children that ended last."""

CORES_TO_SHARE_MIN = 2


class Cores(Struct, frozen=True):
    """Where the program under load runs, and where all else does: databases, worker, generator, the bench.

    One core is the program's own, so that what a case costs others does not slow it; it is one process and
    could not use more. On a machine of one core all share it.
    """

    program: frozenset[int]
    others: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> Cores:
        """The first core for the program, the others for the rest."""
        first, *others = sorted(os.sched_getaffinity(0))
        if len(others) + 1 < CORES_TO_SHARE_MIN:
            return cls(frozenset({first}), frozenset({first}))
        return cls(frozenset({first}), frozenset(others))

    @classmethod
    def shared(cls) -> Cores:
        """Every core for everybody."""
        cores = frozenset(os.sched_getaffinity(0))
        return cls(cores, cores)


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
