"""The pools of an event: made, resized, nested and removed by its organizer."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from domain.sales.ticket_types import POOL_DEPTH_MAX, POOLS_MAX
from tests.api.resources.test_ticket_types import PRICED, make, make_pool, order, pointers


@pytest.fixture
async def organizer(callers):
    return await callers.organizer()


@pytest.fixture
async def event(organizer):
    """The path of an event that may have prices."""
    return f"/api/v1/events/{(await organizer.make_event(**PRICED))['id']}"


async def taken(organizer, event):
    return {each["name"]: each["taken"] for each in (await organizer.get(f"{event}/pools")).json()["items"]}


async def test_family_tickets_do_not_oversell_the_pool_above(organizer, callers, event):
    """A rival counted a family ticket as one of the hall."""
    hall = await make_pool(organizer, event, name="Hall", size=10)
    stalls, balcony = [
        await make_pool(organizer, event, name=name, size=8, parent_id=hall["id"]) for name in ("Stalls", "Balcony")
    ]
    family = await make(organizer, event, name="Family", pools=[stalls["id"]], weight=4)
    single = await make(organizer, event, name="Single", pools=[balcony["id"]])

    async def buy(line):
        return (await (await callers.attendee()).post("/api/v1/bookings", order(event, line))).status_code

    statuses = await asyncio.gather(*(buy((family, 1)) for _ in range(3)), *(buy((single, 1)) for _ in range(8)))

    shown = await taken(organizer, event)
    assert shown["Hall"] == shown["Stalls"] + shown["Balcony"] <= 10
    assert shown == {
        "Hall": 4 * statuses[:3].count(202) + statuses[3:].count(202),
        "Stalls": 4 * statuses[:3].count(202),
        "Balcony": statuses[3:].count(202),
    }


async def test_the_size_of_a_pool_does_not_fall_below_what_is_sold_and_held(organizer, callers, event):
    stalls = await make_pool(organizer, event, size=10)
    paid = await make(organizer, event, pools=[stalls["id"]], price_minor=1_000)
    free = await make(organizer, event, pools=[stalls["id"]])
    buyer = await callers.attendee()
    await buyer.post("/api/v1/bookings", order(event, (paid, 2)))
    await buyer.post("/api/v1/bookings", order(event, (free, 3)))
    path = f"{event}/pools/{stalls['id']}"

    refused = await organizer.patch(path, {"size": 4})
    exact = await organizer.patch(path, {"size": 5})
    short = await buyer.post("/api/v1/bookings", order(event, (free, 1)))
    await organizer.patch(path, {"size": 6})
    fits = await buyer.post("/api/v1/bookings", order(event, (free, 1)))

    told = refused.json()
    assert (refused.status_code, told["code"], told["sold"], told["held"]) == (409, "capacity_below_sold", 3, 2)
    assert (exact.json()["size"], exact.json()["taken"], exact.json()["version"]) == (5, 5, 2)
    assert (short.json()["code"], fits.status_code) == ("sold_out", 202)


async def test_pools_are_nested_to_a_depth_and_never_in_a_circle(organizer, event):
    pools = []
    for depth in range(POOL_DEPTH_MAX):
        parent = pools[-1]["id"] if pools else None
        pools.append(await make_pool(organizer, event, name=f"Pool {depth}", parent_id=parent))

    deeper = await organizer.post(f"{event}/pools", {"name": "Deep", "size": 1, "parent_id": pools[-1]["id"]})
    circle = await organizer.patch(f"{event}/pools/{pools[0]['id']}", {"parent_id": pools[2]["id"]})
    itself = await organizer.patch(f"{event}/pools/{pools[0]['id']}", {"parent_id": pools[0]["id"]})
    unknown = await organizer.patch(f"{event}/pools/{pools[0]['id']}", {"parent_id": str(uuid4())})
    top = await make_pool(organizer, event, name="Top")
    under = await organizer.patch(f"{event}/pools/{pools[0]['id']}", {"parent_id": top["id"]})

    refused = (deeper, circle, itself, unknown, under)
    assert [(answer.status_code, pointers(answer)) for answer in refused] == [(422, ["/parent_id"])] * 5


async def test_an_event_has_a_number_of_pools(organizer, event):
    for number in range(POOLS_MAX):
        await make_pool(organizer, event, name=f"Pool {number}")

    refused = await organizer.post(f"{event}/pools", {"name": "One more", "size": 1})

    assert (refused.status_code, pointers(refused)) == (422, [""])


async def test_the_parent_of_a_pool_is_fixed_while_tickets_of_it_are_taken(organizer, callers, event):
    hall, stalls = [await make_pool(organizer, event, name=name) for name in ("Hall", "Stalls")]
    adult = await make(organizer, event, pools=[stalls["id"]])
    buyer = await callers.attendee()
    path = f"{event}/pools/{stalls['id']}"
    booked = (await buyer.post("/api/v1/bookings", order(event, (adult, 1)))).json()

    refused = await organizer.patch(path, {"parent_id": hall["id"], "name": "Floor"})
    named = await organizer.patch(path, {"name": "Floor"})
    await buyer.delete(f"/api/v1/bookings/{booked['id']}")
    moved = await organizer.patch(path, {"parent_id": hall["id"]})
    await buyer.post("/api/v1/bookings", order(event, (adult, 2)))

    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert (named.json()["name"], moved.json()["parent_id"]) == ("Floor", hall["id"])
    assert await taken(organizer, event) == {"Hall": 2, "Floor": 2}


async def test_a_pool_is_removed_once_nothing_uses_it(organizer, event):
    hall = await make_pool(organizer, event, name="Hall")
    stalls = await make_pool(organizer, event, name="Stalls", parent_id=hall["id"])
    adult = await make(organizer, event, pools=[stalls["id"]])

    used = [await organizer.delete(f"{event}/pools/{each['id']}") for each in (stalls, hall)]
    await organizer.delete(f"{event}/ticket-types/{adult['id']}")
    gone = [await organizer.delete(f"{event}/pools/{each['id']}") for each in (stalls, hall)]
    again = await organizer.delete(f"{event}/pools/{hall['id']}")

    assert [(answer.status_code, answer.json()["code"]) for answer in used] == [(409, "in_use")] * 2
    assert [answer.status_code for answer in (*gone, again)] == [204, 204, 404]
    assert await taken(organizer, event) == {}


async def test_cancelled_orders_free_every_pool_that_they_took(organizer, callers, event):
    """A rival freed the tickets of the event only, and its pools stayed sold."""
    hall = await make_pool(organizer, event, name="Hall", size=4)
    box = await make_pool(organizer, event, name="Box", size=4, parent_id=hall["id"])
    adult = await make(organizer, event, pools=[box["id"]], weight=2)
    first, second = await callers.attendee(), await callers.attendee()
    booked = (await first.post("/api/v1/bookings", order(event, (adult, 2)))).json()
    refused = await second.post("/api/v1/bookings", order(event, (adult, 1)))

    await first.delete(f"/api/v1/bookings/{booked['id']}")
    freed = await taken(organizer, event)
    again = await second.post("/api/v1/bookings", order(event, (adult, 2)))

    assert (refused.json()["code"], freed, again.status_code) == ("sold_out", {"Hall": 0, "Box": 0}, 202)


async def test_the_tickets_of_an_archived_type_stay_in_their_removed_pool(organizer, callers, event, stores):
    box = await make_pool(organizer, event, size=2)
    adult = await make(organizer, event, pools=[box["id"]], price_minor=100)
    buyer = await callers.attendee()
    held = (await buyer.post("/api/v1/bookings", order(event, (adult, 2)))).json()
    await organizer.delete(f"{event}/ticket-types/{adult['id']}")
    await organizer.delete(f"{event}/pools/{box['id']}")

    confirmed = await stores.box_office.confirm(UUID(held["id"]))

    assert confirmed.quantity == 2
    assert (await buyer.delete(f"/api/v1/bookings/{held['id']}")).status_code == 200
