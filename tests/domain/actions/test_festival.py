"""A festival with nested pools, badges, parking, tents and shirts is sold out by parties, and every pool is right."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from domain.kernel.claims import read_claims
from domain.kernel.counters import POOL_MAIN, pool_counter, promo_counter
from domain.kernel.refusals import PerUserLimit, PromoCodeUsedUp, RequirementMissing, SoldOut
from domain.platform.concurrency import together
from domain.sales.order_body import body_of
from domain.sales.orders import LineOrder
from domain.sales.ticket_types import NewPromoCodes, NewTicketType
from domain.store.redis.admission import Ask
from tests.factories import ORGANIZED, make_accounts, make_event
from tests.waiting import keep_persisting, persist_all

if TYPE_CHECKING:
    from uuid import UUID

    from domain.engine import Stores
    from domain.kernel.bookings import Booking
    from domain.sales.events import Event

ADMISSIONS = 3_250
PARTIES = 2_300
AT_ONCE = 64

POOLS = {
    "admissions": (ADMISSIONS, None),
    "general": (3_000, "admissions"),
    "speakers": (150, "admissions"),
    "sponsors": (100, "admissions"),
    "badges": (ADMISSIONS, None),
    "vans": (195, None),
    "tents": (300, None),
    "shirts": (400, None),
    "shirts S": (120, "shirts"),
    "shirts M": (200, "shirts"),
    "shirts L": (150, "shirts"),
}
"""The size of each pool, and the pool that contains it."""

GOODS: dict[str, Any] = {"takes_room": False, "counts_for_max_per_user": False}

TYPES = {
    "admission": NewTicketType(name="Admission"),
    "family": NewTicketType(name="Family", weight=4),
    "speaker": NewTicketType(name="Speaker", hidden=True),
    "sponsor": NewTicketType(name="Sponsor", hidden=True),
    "van": NewTicketType(name="Parking for a van", **GOODS),
    "tent": NewTicketType(name="Tent", **GOODS),
    **{f"shirt {size}": NewTicketType(name=f"Shirt {size}", max_per_user=2, **GOODS) for size in "SML"},
}
TAKES = {
    "admission": ["general", "badges"],
    "family": ["general", "badges"],
    "speaker": ["speakers", "badges"],
    "sponsor": ["sponsors", "badges"],
    "van": ["vans"],
    "tent": ["tents"],
    **{f"shirt {size}": [f"shirts {size}"] for size in "SML"},
}
"""The pools that each type takes from."""

MIX = {
    (("admission", 1),): 60,
    (("admission", 1), ("van", 1)): 25,
    (("admission", 2),): 20,
    (("admission", 2), ("van", 1)): 20,
    (("family", 1), ("tent", 1), ("shirt M", 2)): 10,
}
"""What parties buy, and how often."""


class Festival:
    """An event with its pools and ticket types, and the bookings that were made of it."""

    def __init__(self, stores: Stores, event: Event) -> None:
        self.stores, self.event = stores, event
        self.pools: dict[str, UUID] = {}
        self.types: dict[str, UUID] = {}
        self.codes: dict[str, UUID] = {}
        self.bookings: list[Booking] = []
        self.refused: Counter[str] = Counter()

    async def furnish(self) -> None:
        """Make pools, ticket types and promo codes as an organizer does."""
        selling = self.stores.selling
        for name, (size, parent) in POOLS.items():
            parent_id = self.pools[parent] if parent else None
            _, made = await selling.add_pool(self.event.id, name=name, size=size, parent_id=parent_id, caller=ORGANIZED)
            self.pools[name] = made.id
        for name, new in TYPES.items():
            ticket_type = await selling.add_type(self.event.id, new, caller=ORGANIZED)
            self.types[name] = ticket_type.id
            changes = {"pools": tuple(self.pools[each] for each in TAKES[name])}
            if name == "van":
                changes["requires_type_id"] = self.types["admission"]
            await selling.change_type(self.event.id, ticket_type.id, changes, caller=ORGANIZED, expected_version=None)
        for code, unlocked, uses in (("SPEAK", "speaker", 150), ("SPONSOR", "sponsor", 90)):
            new_code = NewPromoCodes(
                code=code, max_uses=uses, unlocks_hidden=True, ticket_type_ids=(self.types[unlocked],)
            )
            (made_code,) = await selling.add_codes(self.event.id, new_code, caller=ORGANIZED)
            self.codes[code] = made_code.id

    async def buy(self, account_id: UUID, lines: tuple[tuple[str, int], ...], code: str | None = None) -> bool:
        """One order of a party; False if it is refused."""
        wanted = tuple((self.types[name], quantity) for name, quantity in lines)
        order = LineOrder(self.event.id, wanted, promo_code=code)
        try:
            self.bookings.append((await self.stores.box_office.reserve(Ask.trusted(account_id), order)).booking)
        except (SoldOut, PromoCodeUsedUp) as refusal:
            self.refused[refusal.code] += 1
            return False
        return True

    async def visit(self, account_id: UUID, lines: tuple[tuple[str, int], ...]) -> None:
        """A party buys what it wants; if something of it is sold out, its admissions alone."""
        if not await self.buy(account_id, lines) and len(lines) > 1:
            await self.buy(account_id, lines[:1])

    async def taken(self) -> dict[str, int]:
        """What Redis has of each pool."""
        names = {name: pool_counter(pool_id) for name, pool_id in self.pools.items()}
        taken = await self.stores.inventory.taken_of(self.event.id, [*names.values(), POOL_MAIN])
        return {name: taken[counter] for name, counter in names.items()} | {"room": taken[POOL_MAIN]}

    def sold(self) -> Counter[str]:
        """Tickets of each type, by the lines of all bookings."""
        names = {type_id: name for name, type_id in self.types.items()}
        sold: Counter[str] = Counter()
        for booking in self.bookings:
            for line in body_of(booking).items:
                sold[names[line.ticket_type_id]] += line.quantity
        return sold

    def expected(self) -> dict[str, int]:
        """What each pool must have by the bookings' lines."""
        expected = dict.fromkeys(POOLS, 0) | {"room": 0}
        for name, quantity in self.sold().items():
            units = quantity * TYPES[name].weight
            expected["room"] += units * TYPES[name].takes_room
            for pool in TAKES[name]:
                above: str | None = pool
                while above is not None:
                    expected[above] += units
                    above = POOLS[above][1]
        return expected


@pytest.fixture
async def festival(stores):
    made = Festival(stores, await make_event(stores, capacity=ADMISSIONS, max_per_user=20))
    await made.furnish()
    persisting = asyncio.create_task(keep_persisting(stores))
    yield made
    persisting.cancel()


@pytest.mark.timeout(300)
async def test_a_festival_is_sold_out_by_parties_and_every_pool_is_right(festival, stores):
    dice = random.Random(19)
    parties = dice.choices(list(MIX), weights=list(MIX.values()), k=PARTIES)
    buyers = await make_accounts(stores, PARTIES + 400)

    await together(lambda party: festival.visit(*party), zip(buyers, parties, strict=False), at_once_max=AT_ONCE)
    guests = [(buyer, (("speaker", 1),), "SPEAK") for buyer in buyers[PARTIES : PARTIES + 160]]
    guests += [(buyer, (("sponsor", 1),), "SPONSOR") for buyer in buyers[PARTIES + 160 : PARTIES + 270]]
    await together(lambda guest: festival.buy(*guest), guests, at_once_max=AT_ONCE)
    while await festival.buy(buyers[-1], (("admission", 1),)):
        pass
    await together(lambda buyer: festival.buy(buyer, (("tent", 1),)), buyers[:320], at_once_max=AT_ONCE)

    with suppress(asyncio.CancelledError):
        await persist_all(stores)
    taken, sold = await festival.taken(), festival.sold()
    assert taken == festival.expected()
    full = ("general", "speakers", "vans", "tents")
    assert {name: taken[name] for name in full} == {name: POOLS[name][0] for name in full}
    assert taken["badges"] == taken["room"] == taken["admissions"] == 3_000 + 150 + 90
    assert sold["admission"] + 4 * sold["family"] == 3_000
    assert festival.refused["promo_code_used_up"] == 10 + 20
    await _is_the_same_in_postgresql(festival, stores)


async def _is_the_same_in_postgresql(festival, stores):
    stored = (await stores.ledger.taken([festival.event.id]))[festival.event.id]
    claimed: Counter[str] = Counter()
    for booking in festival.bookings:
        claimed.update(read_claims(booking.known_claims))
    counters = [pool_counter(each) for each in festival.pools.values()]
    counters += [promo_counter(each) for each in festival.codes.values()] + [POOL_MAIN]
    in_redis = await stores.inventory.taken_of(festival.event.id, counters)

    assert {name: (stored[name].counted, stored[name].booked) for name in counters} == {
        name: (claimed[name], claimed[name]) for name in counters
    }
    assert in_redis == {name: claimed[name] for name in counters}


async def test_a_van_of_a_festival_comes_with_an_admission_and_shirts_have_a_personal_limit(festival, stores):
    alone, buyer = await make_accounts(stores, 2)

    with pytest.raises(RequirementMissing):
        await festival.buy(alone, (("van", 1),))
    assert await festival.buy(buyer, (("admission", 1), ("shirt S", 2), ("shirt M", 1)))
    assert await festival.buy(buyer, (("van", 1), ("shirt M", 1)))
    for size in ("S", "M"):
        with pytest.raises(PerUserLimit):
            await festival.buy(buyer, ((f"shirt {size}", 1),))
    assert (await festival.taken())["shirts"] == 4
