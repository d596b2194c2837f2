"""The jobs of the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

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
