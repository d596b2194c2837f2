"""The promo codes of an event: made, generated, listed, changed and ended by its organizer, and tried by buyers."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from domain.platform.settings import Limit
from domain.sales.code_patterns import ALPHABET
from tests.api.conftest import serving
from tests.api.resources.test_ticket_types import PRICED, make, order, pointers
from tests.contract.test_statements import counted_statements
from tests.factories import make_due, tomorrow


@pytest.fixture
async def organizer(callers):
    return await callers.organizer()


@pytest.fixture
async def event(organizer):
    """The path of an event that may have prices."""
    return f"/api/v1/events/{(await organizer.make_event(**PRICED))['id']}"


async def make_code(organizer, event, code="EARLY", **fields):
    made = await organizer.post(f"{event}/promo-codes", {"code": code} | fields)
    assert made.status_code == 201, made.text
    return made.json()["items"][0]


async def uses(organizer, event, **query):
    page = (await organizer.get(f"{event}/promo-codes", params=query)).json()
    return {each["code"]: each["used"] for each in page["items"]}


async def test_a_code_with_n_uses_is_used_n_times_over_all_processes(organizer, callers, event, client, other_client):
    """A rival counted the uses in a job, after the orders: its code was used without limit."""
    adult = await make(organizer, event, price_minor=1_000)
    await make_code(organizer, event, max_uses=5, percent_off=50)
    buyers = [await callers.attendee() for _ in range(20)]

    answers = await asyncio.gather(
        *(
            buyer.through((client, other_client)[number % 2]).post(
                "/api/v1/bookings", order(event, (adult, 1), promo_code="early", expect_total_minor=500)
            )
            for number, buyer in enumerate(buyers)
        )
    )

    assert Counter(answer.status_code for answer in answers) == {201: 5, 409: 15}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"promo_code_used_up"}
    assert await uses(organizer, event) == {"EARLY": 5}


async def test_a_hold_that_ends_gives_its_use_back(organizer, callers, event, stores):
    adult = await make(organizer, event, price_minor=1_000)
    await make_code(organizer, event, max_uses=1)
    buyer, other = await callers.attendee(), await callers.attendee()
    body = order(event, (adult, 1), promo_code="early")
    held = (await buyer.post("/api/v1/bookings", body)).json()
    used_up = await other.post("/api/v1/bookings", body)
    await make_due(stores, await stores.box_office.booking(UUID(held["id"])))

    again = await other.post("/api/v1/bookings", body)

    assert (used_up.json()["code"], again.status_code) == ("promo_code_used_up", 201)


async def test_a_thousand_codes_are_generated_at_once_and_each_is_another(organizer, event):
    made = await organizer.post(
        f"{event}/promo-codes", {"pattern": "SPRING-####", "count": 1_000, "max_uses": 1, "percent_off": 20}
    )

    codes = [each["code"] for each in made.json()["items"]]
    assert (made.status_code, len(set(codes))) == (201, 1_000)
    assert {code[:7] for code in codes} == {"SPRING-"}
    assert {letter for code in codes for letter in code[7:]} == set(ALPHABET)
    assert not set("ILO01") & set(ALPHABET)


async def test_generated_codes_are_all_made_or_none(organizer, event):
    for _ in range(5):
        made = await organizer.post(f"{event}/promo-codes", {"pattern": "A######", "count": 1_000})

    more = await organizer.post(f"{event}/promo-codes", {"pattern": "A######", "count": 1})

    assert (made.status_code, more.status_code, pointers(more)) == (201, 422, [""])


async def test_codes_are_listed_page_by_page_and_found_by_a_part(organizer, event):
    await organizer.post(f"{event}/promo-codes", {"pattern": "SPRING-####", "count": 45})
    await make_code(organizer, event, "Winter_50%", max_uses=3)

    seen, cursor = [], None
    while True:
        query = {"limit": 20} | ({"cursor": cursor} if cursor else {})
        page = (await organizer.get(f"{event}/promo-codes", params=query)).json()
        seen += [each["code"] for each in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break

    assert (len(seen), len(set(seen)), seen[-1]) == (46, 46, "Winter_50%")
    assert await uses(organizer, event, q="_50%") == await uses(organizer, event, q="wINTER") == {"Winter_50%": 0}
    assert await uses(organizer, event, q="summer") == {}


async def test_case_makes_no_difference_in_codes(organizer, callers, event):
    adult = await make(organizer, event)
    await make_code(organizer, event, "Frühling")

    taken = await organizer.post(f"{event}/promo-codes", {"code": " FRÜHLING "})
    booked = await (await callers.attendee()).post(
        "/api/v1/bookings", order(event, (adult, 1), promo_code="FRU\u0308HLING")
    )

    assert (taken.status_code, taken.json()["code"]) == (409, "promo_code_taken")
    assert booked.json()["promo_code"] == "Frühling"


async def test_a_code_keeps_the_rules_of_its_fields(organizer, event):
    free = f"/api/v1/events/{(await organizer.make_event())['id']}"
    now = tomorrow()
    broken = {
        "/code": {},
        "/pattern": {"pattern": "ABC###"},
        "/count": {"code": "x", "count": 5},
        "/amount_off_minor": {"code": "x", "percent_off": 5, "amount_off_minor": 5},
        "/ticket_types/0": {"code": "x", "ticket_types": [str(uuid4())]},
        "/valid_until": {"code": "x", "valid_from": now.isoformat(), "valid_until": now.isoformat()},
    }

    answers = {pointer: await organizer.post(f"{event}/promo-codes", body) for pointer, body in broken.items()}
    unpriced = await organizer.post(f"{free}/promo-codes", {"code": "x", "amount_off_minor": 5})

    assert {pointer: pointers(answer) for pointer, answer in answers.items()} == {each: [each] for each in broken}
    assert pointers(unpriced) == ["/amount_off_minor"]


async def test_the_uses_of_a_code_do_not_fall_below_what_is_used(organizer, callers, event):
    adult = await make(organizer, event, price_minor=1_000)
    code = await make_code(organizer, event)
    path = f"{event}/promo-codes/{code['id']}"
    for _ in range(3):
        await (await callers.attendee()).post("/api/v1/bookings", order(event, (adult, 1), promo_code="early"))

    refused = await organizer.patch(path, {"max_uses": 2})
    exact = await organizer.patch(path, {"max_uses": 3}, headers={"If-Match": '"v1"'})
    late = await organizer.patch(path, {"max_uses": 9}, headers={"If-Match": '"v1"'})

    assert (refused.status_code, refused.json()["code"], refused.json()["used"]) == (409, "max_uses_below_used", 3)
    assert (exact.json()["used"], exact.json()["max_uses"], exact.headers["ETag"]) == (3, 3, '"v2"')
    assert late.status_code == 412


async def test_an_ended_code_keeps_the_price_of_holds_and_leaves_its_text(organizer, callers, event):
    adult = await make(organizer, event, price_minor=1_000)
    code = await make_code(organizer, event, percent_off=100)
    buyer = await callers.attendee()
    body = order(event, (adult, 1), promo_code="early", hold=True)
    held = (await buyer.post("/api/v1/bookings", body)).json()

    gone = await organizer.delete(f"{event}/promo-codes/{code['id']}")
    refused = await buyer.post("/api/v1/bookings", body)
    await make_code(organizer, event, amount_off_minor=100)
    cheaper = await buyer.post("/api/v1/bookings", body)

    assert (gone.status_code, refused.json()["code"]) == (204, "promo_code_invalid")
    assert (await buyer.get(f"/api/v1/bookings/{held['id']}/status")).json()["total_minor"] == 0
    assert cheaper.json()["total_minor"] == 900


async def test_unknown_early_late_and_ended_codes_are_refused_alike(organizer, callers, event):
    adult = await make(organizer, event, price_minor=1_000)
    child = await make(organizer, event, name="Child")
    await make_code(organizer, event, "early", valid_from=tomorrow().isoformat(), ticket_types=[child["id"]])
    await make_code(organizer, event, "late", valid_until=(tomorrow() - timedelta(days=2)).isoformat())
    ended = await make_code(organizer, event, "ended")
    await organizer.delete(f"{event}/promo-codes/{ended['id']}")
    buyer = await callers.attendee()

    answers = [
        await buyer.post("/api/v1/bookings", order(event, (adult, 1), promo_code=code))
        for code in ("unknown", "early", "late", "ended")
    ]
    reads = [
        await buyer.get(f"{event}/ticket-types", params={"promo_code": code})
        for code in ("unknown", "early", "late", "ended")
    ]

    told = [{name: value for name, value in answer.json().items() if name != "instance"} for answer in answers + reads]
    assert told[0]["code"] == "promo_code_invalid"
    assert told == [told[0]] * 8


async def test_unknown_early_and_ended_codes_cost_the_same_statements_and_commands(organizer, callers, event, stores):
    """Else a guesser would know by the time of an answer that a code will be valid, or was."""
    adult = await make(organizer, event, price_minor=1_000)
    await make_code(organizer, event, "early", valid_from=tomorrow().isoformat(), max_uses_per_user=1)
    ended = await make_code(organizer, event, "ended")
    await organizer.delete(f"{event}/promo-codes/{ended['id']}")
    buyer, redis = await callers.attendee(), stores.pipeline.redis
    body = {code: order(event, (adult, 1), promo_code=code) for code in ("unknown", "early", "ended")}
    for each in body.values():
        await buyer.post("/api/v1/bookings", each)

    async def cost(each):
        before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        with counted_statements() as statements:
            await buyer.post("/api/v1/bookings", each)
        return len(statements), (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before

    # What other tasks of this process ask meanwhile is counted as well, so the cheapest of several counts.
    costs = {code: min([await cost(each) for _ in range(5)]) for code, each in body.items()}
    assert len(set(costs.values())) == 1, costs


class Guessing:
    """A buyer of an event with a code, at a process with limits that no test waits out."""

    def __init__(self, event, adult):
        self.event, self.adult = event, adult

    async def orders(self, caller, code, number=1):
        body = order(self.event, (self.adult, 1), promo_code=code)
        return [await caller.post("/api/v1/bookings", body) for _ in range(number)]


@pytest.fixture
async def guessing(organizer):
    event = f"/api/v1/events/{(await organizer.make_event(max_per_user=100))['id']}"
    adult = await make(organizer, event)
    await make_code(organizer, event)
    return Guessing(event, adult)


@pytest.fixture
def strict(settings):
    return settings.model_copy(
        update={"limit_promo_code": Limit.parse("10/3600"), "limit_booking_create": Limit.parse("100/min")}
    )


async def test_wrong_codes_have_a_limit_and_right_ones_have_none(guessing, callers, strict):
    buyer, honest = await callers.attendee(), await callers.attendee()
    async with serving(strict) as process:
        right = await guessing.orders(honest.through(process), "early", 12)
        wrong = await guessing.orders(buyer.through(process), "erly", 12)
        guessed = await guessing.orders(buyer.through(process), "early")
        plain = await guessing.orders(buyer.through(process), None)
        others = await guessing.orders(honest.through(process), "early")

    assert [answer.status_code for answer in wrong] == [409] * 10 + [429] * 2
    assert (guessed[0].status_code, guessed[0].json()["limit"]) == (429, "promo_code")
    assert 300 < int(guessed[0].headers["Retry-After"]) <= 361
    assert {answer.status_code for answer in (*right, *plain, *others)} == {202}


async def test_wrong_codes_are_counted_over_processes_and_over_reads(guessing, callers, strict):
    buyer = await callers.attendee()
    async with serving(strict) as here, serving(strict) as there:
        await guessing.orders(buyer.through(here), "erly", 5)
        path, wrong = f"{guessing.event}/ticket-types", {"promo_code": "erly"}
        reads = [await buyer.through(there).get(path, params=wrong) for _ in range(6)]
        known = await buyer.through(there).get(path, params={"promo_code": "early"})
        public = await buyer.through(there).get(path)
        anonymous = [await there.get(path, params=wrong) for _ in range(11)]

    assert [answer.status_code for answer in reads] == [409] * 5 + [429]
    assert (known.status_code, public.status_code) == (429, 200)
    assert [answer.status_code for answer in anonymous] == [409] * 10 + [429]


async def test_a_dead_token_is_told_so_when_its_codes_are_over_the_limit(guessing, callers, strict):
    buyer = await callers.attendee()
    async with serving(strict) as process:
        await guessing.orders(buyer.through(process), "erly", 11)
        await buyer.post("/api/v1/auth/logout")
        (refused,) = await guessing.orders(buyer.through(process), "early")

    assert refused.status_code == 401
