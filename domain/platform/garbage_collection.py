"""Garbage collection of a process that serves for a long time: it looks at what comes and goes, not at what stays."""

from __future__ import annotations

import gc

YOUNG_MAX = 20_000
"""Objects made, less those freed, after which the young are looked through; Python's 700 is reached by some ten
requests under way, each of which is freed without help when it is answered."""

MIDDLE_MAX, OLD_MAX = 20, 50
"""How many looks at the young make one at the middle-aged, and how many of those one at all."""


def spare_what_stays() -> None:
    """Leave what is there by now out of every collection from now on, and collect seldom.

    Call it when a process has imported and opened what it serves with. By default the collector goes through
    all of that in the middle of requests: it took a fifth of the processor's time and held up everybody for a
    tenth of a second (loadtests/results). What hot paths make are structs that are never tracked (`gc=False`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, MIDDLE_MAX, OLD_MAX)
