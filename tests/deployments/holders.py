"""Buyers of holds and of any counters, beside a crowd. They call the engine in this process: no route has holds yet."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from ops.chaos.holds.buyers import HoldCrowd
from ops.chaos.holds.files import HoldsEvent, HoldsFiles, HoldsPlan, unanswered
from ops.chaos.holds.orders import LISTED
from ops.evidence.answers import Kind
from tests.books import rows
from tests.factories import make_account, place_counters
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from domain.engine import Stores
    from domain.sales.events import Event
    from ops.evidence.answers import Answer
    from tests.deployments.crowd import Crowd

HOLDERS = 4

HOLD_MS = (200, 1_500)
"""The shortest and the longest hold: some end while a fault is under way."""

KINDS = frozenset({Kind.BOOK, Kind.CONFIRM, Kind.CANCEL})


class Holders:
    """What the buyers of holds were told."""

    def __init__(self, files: HoldsFiles) -> None:
        self._files = files

    @property
    def answers(self) -> list[Answer]:
        """Requests and their answers until now."""
        return self._files.answers()

    async def until_answered(self) -> None:
        """Return when further requests of each kind have succeeded that were sent from now on."""
        before = len(self.answers)

        async def succeeded() -> bool:
            later = {answer.kind for answer in self.answers[before:] if answer.status in {200, 202}}
            return later >= KINDS

        await eventually(succeeded)


@asynccontextmanager
async def holding_at(stores: Stores, crowd: Crowd, events: Sequence[Event], folder: Path) -> AsyncIterator[Holders]:
    """Let them buy until the block ends and every hold has ended; the crowd's evidence gets their answers.

    A worker must live until then.
    """
    for event in events:
        await place_counters(stores, event.id, **LISTED)
    files = HoldsFiles(folder)
    plan = HoldsPlan(
        seed=uuid4().hex,
        accounts=[await make_account(stores) for _ in range(HOLDERS)],
        events=[HoldsEvent(event.id, event.max_per_user) for event in events],
        hold_ms=HOLD_MS,
        think_s=0.1,
    )
    files.begin(plan)
    shopping = asyncio.create_task(HoldCrowd(plan, files, stores.box_office, stores.payment_actions).shop())
    try:
        yield Holders(files)
        assert not shopping.done()
        files.leave()
        await shopping
        await eventually(lambda: rows(stores), is_so=lambda found: not found["held"])
    finally:
        shopping.cancel()
        with suppress(asyncio.CancelledError):
            await shopping
    assert unanswered(files.answers()) == []
    crowd.told_others += files.answers()
