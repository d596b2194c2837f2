"""The schedule of faults. A seed and a mix make the same schedule on every machine."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

API_NAMES = ("api.1", "api.2")
WORKER_NAMES = ("worker.1", "worker.2")
HOLDS_NAME = "holds.1"
"""The process that orders holds from the engine, as an API process would (`ops/chaos/holds.py`)."""

SELLER_NAMES = (*API_NAMES, HOLDS_NAME)
"""Processes that take orders."""

PROCESS_NAMES = (*SELLER_NAMES, *WORKER_NAMES)

SERVER_NAMES = ("redis", "queue", "postgres")
"""Each process has its own link to each of these; `queue` is another database of the same Valkey."""

CLOCK_NAMES = ("redis", "postgres", *PROCESS_NAMES)
"""Servers and processes with their own clock."""

LINK_NAMES = tuple(f"{process}:{server}" for process in PROCESS_NAMES for server in SERVER_NAMES)

WARM_UP_SECONDS = 0.5
"""No fault happens before the first bookings."""


class FaultKind(StrEnum):
    """What can go wrong from outside."""

    API_KILL = "api killed"
    API_STOP = "api stopped"
    API_TERM = "api told to end"
    WORKER_KILL = "worker killed"
    WORKER_STOP = "worker stopped"
    WORKER_TERM = "worker told to end"
    REDIS_KILL = "redis killed"
    REDIS_STOP = "redis stopped"
    REDIS_FULL_MEMORY = "redis out of memory"
    REDIS_FULL_DISK = "redis out of disk"
    """A limit on the size of its files: Valkey's writes fail as on a full disk, and it ends."""
    REDIS_WIPE = "redis wiped"
    REDIS_EMPTY = "redis back empty"
    REDIS_STALE = "redis back stale"
    POSTGRES_KILL = "postgres killed"
    POSTGRES_QUIT = "postgres ended at once"
    POSTGRES_STOP = "postgres stopped"
    POSTGRES_CROWDED = "postgres out of connections"
    CLOCK_BACK = "clock set back"
    CLOCK_FORWARD = "clock set forward"
    """By ten minutes and back again, so that each of the two sets a clock both ways."""
    LINK_CUT = "connections cut"
    LINK_REFUSED = "connections refused"
    LINK_STALLED = "network stalled"
    LINK_SLOW = "network slow"
    LINK_HALF_OPEN = "network half open"
    """Bytes on the present connections are lost, and neither end is told."""
    LINK_ANSWERS_LOST = "answers lost"
    """Requests arrive and are carried out; their answers do not arrive."""


class Shape(Struct, frozen=True):
    """A kind of fault: its targets, how often it stands in a full deck, and its least and longest duration."""

    targets: tuple[str, ...]
    times: int
    lasts_s: tuple[float, float] = (0.0, 0.0)


SHAPES: dict[FaultKind, Shape] = {
    FaultKind.API_KILL: Shape(SELLER_NAMES, 6),
    FaultKind.API_STOP: Shape(SELLER_NAMES, 3, (0.2, 3.0)),
    FaultKind.API_TERM: Shape(API_NAMES, 2),
    FaultKind.WORKER_KILL: Shape(WORKER_NAMES, 4),
    FaultKind.WORKER_STOP: Shape(WORKER_NAMES, 4, (0.2, 4.0)),
    FaultKind.WORKER_TERM: Shape(WORKER_NAMES, 2),
    FaultKind.REDIS_KILL: Shape(("redis",), 2, (0.0, 1.0)),
    FaultKind.REDIS_STOP: Shape(("redis",), 1, (0.2, 3.0)),
    FaultKind.REDIS_FULL_MEMORY: Shape(("redis",), 1, (0.3, 2.0)),
    FaultKind.REDIS_FULL_DISK: Shape(("redis",), 1, (0.3, 1.0)),
    FaultKind.REDIS_WIPE: Shape(("redis",), 1),
    FaultKind.REDIS_EMPTY: Shape(("redis",), 1, (0.0, 1.0)),
    FaultKind.REDIS_STALE: Shape(("redis",), 2, (0.0, 1.0)),
    FaultKind.POSTGRES_KILL: Shape(("postgres",), 1, (0.0, 1.0)),
    FaultKind.POSTGRES_QUIT: Shape(("postgres",), 1, (0.0, 1.0)),
    FaultKind.POSTGRES_STOP: Shape(("postgres",), 1, (0.2, 3.0)),
    FaultKind.POSTGRES_CROWDED: Shape(("postgres",), 1, (0.5, 2.0)),
    FaultKind.CLOCK_BACK: Shape(CLOCK_NAMES, 2, (1.5, 4.0)),
    FaultKind.CLOCK_FORWARD: Shape(CLOCK_NAMES, 2, (1.5, 4.0)),
    FaultKind.LINK_CUT: Shape(LINK_NAMES, 3),
    FaultKind.LINK_REFUSED: Shape(LINK_NAMES, 2, (0.2, 2.0)),
    FaultKind.LINK_STALLED: Shape(LINK_NAMES, 3, (0.2, 4.0)),
    FaultKind.LINK_SLOW: Shape(LINK_NAMES, 3, (1.0, 4.0)),
    FaultKind.LINK_HALF_OPEN: Shape(LINK_NAMES, 2),
    FaultKind.LINK_ANSWERS_LOST: Shape(LINK_NAMES, 3, (0.2, 1.5)),
}
"""The cheap kinds stand in the deck more often: each loss of Redis stops sales for a rebuild."""

REDIS_LOSSES = frozenset({FaultKind.REDIS_WIPE, FaultKind.REDIS_EMPTY, FaultKind.REDIS_STALE})
"""After these Redis has forgotten what it acknowledged, and DURABILITY=redis promises nothing."""

CLOCK_STEPS = frozenset({FaultKind.CLOCK_BACK, FaultKind.CLOCK_FORWARD})

Mix = dict[FaultKind, int]
"""How often each kind stands in the deck from which faults are drawn."""

EVERYTHING: Mix = {kind: shape.times for kind, shape in SHAPES.items()}

NO_LOSS: Mix = {kind: times for kind, times in EVERYTHING.items() if kind not in REDIS_LOSSES}
"""The faults that DURABILITY=redis promises to survive."""


class ScheduledFault(Struct, frozen=True):
    """A fault: its second of the run, its target, and its duration."""

    at_s: float
    kind: FaultKind
    target: str
    lasts_s: float


def schedule(seed: str, mix: Mapping[FaultKind, int], *, seconds: float, per_second: float) -> list[ScheduledFault]:
    """The faults of a run of `seconds`, in order of time.

    Kinds are drawn from a deck without putting them back, so that each is drawn. The moments are a Poisson process, so
    that faults overlap.
    """
    dice = random.Random(seed)  # noqa: S311  (faults are no secret)
    deck = [kind for kind, times in mix.items() for _ in range(times)]
    faults: list[ScheduledFault] = []
    at_s = WARM_UP_SECONDS
    drawn: list[FaultKind] = []
    while deck and (at_s := at_s + dice.expovariate(per_second)) < seconds:
        drawn = drawn or dice.sample(deck, len(deck))
        faults.append(_fault(dice, drawn.pop(), at_s=at_s))
    return faults


def redis_is_lost(faults: Sequence[ScheduledFault]) -> bool:
    """Whether Redis forgets acknowledged bookings during these faults."""
    return any(fault.kind in REDIS_LOSSES for fault in faults)


def _fault(dice: random.Random, kind: FaultKind, *, at_s: float) -> ScheduledFault:
    shape = SHAPES[kind]
    return ScheduledFault(round(at_s, 3), kind, dice.choice(shape.targets), round(dice.uniform(*shape.lasts_s), 3))
