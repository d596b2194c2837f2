"""Locks on accounts: a caller whose token is dead is told that before anything else."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from msgspec import structs

from domain.kernel.refusals import EventNotFound, Unauthenticated, UserNotFound
from domain.store.postgres.accounts.holding import hold_caller
from tests.factories import ORGANIZED, make_event

MISSING = [UUID(int=1), UUID(int=2**128 - 1)]
"""Locked before and after every account."""


@pytest.mark.parametrize("missing", MISSING)
async def test_a_dead_token_is_refused_before_an_account_that_is_missing(stores, missing):
    await make_event(stores)
    dead = structs.replace(ORGANIZED, token_epoch=ORGANIZED.token_epoch + 1)

    async with stores.database.begin() as connection:
        with pytest.raises(Unauthenticated):
            await hold_caller(connection, dead, changing=[missing])
        with pytest.raises(UserNotFound):
            await hold_caller(connection, ORGANIZED, changing=[missing])


async def test_a_dead_token_is_refused_before_an_event_that_is_missing(stores):
    await make_event(stores)
    dead = structs.replace(ORGANIZED, token_epoch=ORGANIZED.token_epoch + 1)

    with pytest.raises(Unauthenticated):
        await stores.event_actions.cancel(uuid4(), caller=dead)
    with pytest.raises(EventNotFound):
        await stores.event_actions.cancel(uuid4(), caller=ORGANIZED)
