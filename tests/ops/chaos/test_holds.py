"""The process of hold buyers: it can be killed at any moment, and what it was told is known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from msgspec import structs

from domain.kernel.claims import merge_claims
from domain.kernel.counters import POOL_MAIN, holds_counter, user_counter
from ops.chaos.holds.buyers import HoldCrowd
from ops.chaos.holds.files import HoldsEvent, HoldsFiles, HoldsPlan, unanswered
from ops.chaos.holds.orders import HOLDS_MAX, LISTED, CountersOrder
from ops.evidence.answers import HOLD_REFUSALS, REFUSALS, Answer, Kind, about
from ops.evidence.bulk import event_on_sale
from tests.books import differences
from tests.factories import make_account, make_event, place_counters
from tests.waiting import eventually, persist_all

if TYPE_CHECKING:
    from pathlib import Path

    from domain.engine import Stores


def request(**fields: object) -> Answer:
    known = {"kind": Kind.BOOK, "buyer": uuid4(), "event": uuid4(), "key": uuid4().hex, "sent_s": 1.0}
    return Answer(**known | {"quantity": 2, "hold_ms": 300, "units": "seat:A-1=1 pool:vip=2|seat:A-2=1"} | fields)


def test_a_request_is_known_before_it_is_answered_and_once_after(tmp_path: Path) -> None:
    files, sent = HoldsFiles(tmp_path), request()
    log = files.log()
    log.append(sent)
    before = files.answers()

    log.append(structs.replace(sent, took_ms=5.0, status=202, booking=uuid4(), state="held"))

    (after,) = files.answers()
    assert before == [sent]
    assert unanswered(before) == [sent]
    assert (after.status, after.units, after.hold_ms) == (202, sent.units, 300)
    assert unanswered([after]) == []


def test_a_repeated_request_is_unanswered_only_if_its_last_answer_is_missing() -> None:
    first, second = request(), request(sent_s=2.0)
    again = structs.replace(first, sent_s=3.0, status=202)
    confirming = structs.replace(about(Kind.CONFIRM, again), sent_s=4.0)

    assert unanswered([first, second, again, confirming]) == [second, confirming]


def test_an_order_claims_the_allowances_the_tickets_and_one_of_its_lists() -> None:
    sent = request()
    event = event_on_sale(organizer_id=uuid4(), title="", capacity=9, max_per_user=4)
    terms = structs.replace(event.terms, sizes=event.sizes | LISTED)

    first, second = (
        {claim.counter: (claim.quantity, claim.size) for claim in merge_claims(claims)}
        for claims in CountersOrder.of(sent).alternatives(terms, account_id=sent.buyer)
    )

    allowances = {user_counter(sent.buyer): (2, 4), holds_counter(sent.buyer): (1, HOLDS_MAX), POOL_MAIN: (2, 9)}
    assert first == allowances | {"seat:A-1": (1, 1), "pool:vip": (2, 3)}
    assert second == allowances | {"seat:A-2": (1, 1)}


@pytest.mark.parametrize("killed", [False, True])
async def test_buyers_leave_when_all_is_answered(stores: Stores, tmp_path: Path, *, killed: bool) -> None:
    event = await make_event(stores, capacity=60, max_per_user=20)
    await place_counters(stores, event.id, **LISTED)
    files = HoldsFiles(tmp_path)
    accounts = [await make_account(stores) for _ in range(4)]
    plan = HoldsPlan(seed="1", accounts=accounts, events=[HoldsEvent(event.id, 20)], hold_ms=(50, 200), think_s=0.02)
    files.begin(plan)
    shopping = asyncio.create_task(HoldCrowd(files.plan(), files, stores.box_office, stores.payment_actions).shop())

    async def all_kinds() -> bool:
        kinds = {answer.kind for answer in files.answers() if answer.conclusive}
        return kinds >= {Kind.BOOK, Kind.CONFIRM, Kind.EXTEND, Kind.REDUCE, Kind.CANCEL, Kind.POLL}

    await eventually(all_kinds)
    if killed:
        shopping.cancel()
        await asyncio.gather(shopping, return_exceptions=True)
        shopping = asyncio.create_task(HoldCrowd(files.plan(), files, stores.box_office, stores.payment_actions).shop())
    files.leave()
    await shopping
    await persist_all(stores)

    assert files.done
    assert unanswered(files.answers()) == []
    assert {answer.code for answer in files.answers()} <= {None, *REFUSALS, *HOLD_REFUSALS[Kind.EXTEND]}
    assert await differences(stores) == []
