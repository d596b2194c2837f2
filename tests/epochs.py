"""Scripts in their own epoch, for tests of a server without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.store.redis.fence import LAYOUT, EpochRecord, FencingToken
from domain.store.redis.scripts import Scripts

if TYPE_CHECKING:
    from domain.store.redis.pipeline import Pipeline

DEPLOYMENT = "00000000-0000-0000-0000-000000000000"


class FirstEpoch:
    """The record of an epoch that never ends, on the server it was made for."""

    def __init__(self, server: str) -> None:
        self._record = EpochRecord(DEPLOYMENT, 1, LAYOUT, server, server)

    async def record(self) -> EpochRecord:
        return self._record


async def first_epoch(pipeline: Pipeline) -> Scripts:
    """The scripts of the first epoch, loaded on this server."""
    link, server = await pipeline.primary()
    scripts = Scripts(pipeline, FirstEpoch(server.id))
    await scripts.publish(FencingToken(DEPLOYMENT, 1, server.id), link=link)
    return scripts
