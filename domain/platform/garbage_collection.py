"""Garbage collection of a process that serves for a long time: it examines short-lived objects only."""

from __future__ import annotations

import gc

YOUNG_MAX = 20_000
"""The garbage-collection threshold of generation 0: allocations minus deallocations.

Python's default of 700 is reached by about ten concurrent requests, whose objects are freed without the collector when
they are answered.
"""

MIDDLE_MAX, OLD_MAX = 20, 50
"""The garbage-collection thresholds of generations 1 and 2."""


def spare_what_stays() -> None:
    """Exclude all present objects from garbage collection, and collect seldom.

    Call it when a process has imported and opened everything it needs. By default the collector examines all of these
    objects during requests: it took a fifth of the processor's time and paused the process for 0.1 s at a time
    (loadtests/results). The objects of hot paths are structs that are never tracked (`gc=False`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, MIDDLE_MAX, OLD_MAX)
