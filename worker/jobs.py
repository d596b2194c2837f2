"""The jobs of the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from domain.clearing import clear_event
from domain.persisting import persist
from domain.reconciling import reconcile
from domain.refusals import Unavailable
from domain.store.ledger import EpochOver

if TYPE_CHECKING:
    from domain.store.connect import Stores

log = structlog.get_logger()


async def persist_partition(ctx: dict[str, Any], partition: int) -> int:
    """Answer a doorbell; what cannot be written now is left to the sweep."""
    stores: Stores = ctx["stores"]
    try:
        return await persist(stores, partition)
    except (Unavailable, EpochOver) as error:
        log.warning("persist_put_off", partition=partition, cause=str(error))
        return 0


async def clear_cancelled_event(ctx: dict[str, Any], event_id: str) -> bool:
    """Cancel the bookings of a cancelled event, some thousands a time; the sweep has it called until it is done."""
    try:
        return await clear_event(ctx["stores"], UUID(event_id))
    except (Unavailable, EpochOver) as error:
        log.warning("clearing_put_off", event_id=event_id, cause=str(error))
        return False


async def reconcile_all(ctx: dict[str, Any]) -> int:
    """Compare and mend the books of every event; answers how many differences there were."""
    stores: Stores = ctx["stores"]
    try:
        outcomes = await reconcile(stores)
        await stores.intents.forget_kept()
    except (Unavailable, EpochOver) as error:
        log.warning("reconcile_put_off", cause=str(error))
        return 0
    return len(outcomes)
