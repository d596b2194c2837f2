"""The table of a worker's passes. Every worker runs all of them; two workers beside each other do no harm."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from domain.background.clearing import clear_cancelled_events_once
from domain.background.closing import Closed, ClosingRounds
from domain.background.follow_ups import FollowUps
from domain.background.passes import Pass
from domain.background.payments import (
    Decided,
    apply_received_payments_once,
    close_begun_payments_once,
    decide_payments_once,
    send_refunds_once,
)
from domain.background.persisting import sweep_once
from domain.background.rebuilding import rebuild_if_needed_once
from domain.background.retention import Deleted, delete_expired_once
from worker.heartbeat import BEAT_S, beat_once

if TYPE_CHECKING:
    from pathlib import Path

    from domain.engine import Stores

REBUILD_INTERVAL_S = 0.25
"""How soon a worker notices that the inventory must be rebuilt."""

SWEEP_INTERVAL_S = 0.25
"""One round trip to Redis. With OVERDUE_MS and the lease, it bounds how long a dead worker can delay a booking."""

CLEARING_INTERVAL_S = 1.0
FOLLOW_UPS_INTERVAL_S = 1.0

PAYMENTS_INTERVAL_S = 1.0
DECISIONS_AGAIN_S = 0.05
"""The pause after a round that decided as much as it may."""

BEGUN_INTERVAL_S = 5.0

RETENTION_INTERVAL_S = 60.0
RETENTION_AGAIN_S = 1.0
"""The pause after a round that deleted something: at most 18 million rows an hour are deleted."""

CLOSING_INTERVAL_S = 60.0
CLOSING_AGAIN_S = 1.0
"""The pause after a round that closed events."""

CLOSING_PUT_OFF_S = 5.0
"""The pause after a round that found only past events whose changes are still in flight."""

CLOCKS_INTERVAL_S = 5.0


def passes_of(stores: Stores, *, heartbeat: Path | None = None) -> list[Pass[Any]]:
    """Every pass of a worker; `heartbeat` is the file that shows that the worker runs.

    During a rebuild, the passes that can wait leave processor time to it.
    """
    follow_ups = FollowUps(stores)

    def rebuilding() -> bool:
        return stores.scripts.needs_rebuild

    passes: list[Pass[Any]] = [
        Pass("rebuild", REBUILD_INTERVAL_S, partial(rebuild_if_needed_once, stores)),
        Pass("sweep", SWEEP_INTERVAL_S, partial(sweep_once, stores)),
        Pass("clearing", CLEARING_INTERVAL_S, partial(clear_cancelled_events_once, stores), waits_while=rebuilding),
        Pass("follow_ups", FOLLOW_UPS_INTERVAL_S, follow_ups.run_due_once, waits_while=rebuilding),
        Pass("payments", PAYMENTS_INTERVAL_S, partial(apply_received_payments_once, stores), waits_while=rebuilding),
        Pass("decisions", PAYMENTS_INTERVAL_S, partial(decide_payments_once, stores), _after_deciding),
        Pass("refunds", PAYMENTS_INTERVAL_S, partial(send_refunds_once, stores)),
        Pass("begun_payments", BEGUN_INTERVAL_S, partial(close_begun_payments_once, stores)),
        Pass("retention", RETENTION_INTERVAL_S, partial(delete_expired_once, stores), _after_deleting, rebuilding),
        Pass("closing", CLOSING_INTERVAL_S, ClosingRounds(stores).close_once, _after_closing, rebuilding),
        Pass("clocks", CLOCKS_INTERVAL_S, stores.clocks.compare_once),
    ]
    return [*passes, Pass("heartbeat", BEAT_S, partial(beat_once, heartbeat))] if heartbeat else passes


def _after_deleting(deleted: Deleted) -> float:
    return RETENTION_AGAIN_S if deleted.total else RETENTION_INTERVAL_S


def _after_deciding(decided: Decided) -> float:
    return PAYMENTS_INTERVAL_S if decided.complete else DECISIONS_AGAIN_S


def _after_closing(done: Closed) -> float:
    if done.closed:
        return CLOSING_AGAIN_S
    return CLOSING_PUT_OFF_S if done.put_off else CLOSING_INTERVAL_S
