"""Rate limits count exactly over all processes, and answers carry them."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from api.access.declarations import declared_access
from api.app import create_litestar
from api.http.bodies import JsonBody
from domain.platform.settings import Limit
from tests.api.access.test_roles import NOBODYS_ID
from tests.api.callers import PASSWORD, event_draft
from tests.api.conftest import serving

FREQUENT = Limit.parse("10/3600")


@pytest.fixture
def strict(settings):
    """Settings whose limits no test waits out."""
    return settings.model_copy(update={"limit_booking_create": FREQUENT, "limit_event_create": Limit.parse("2/3600")})


async def test_a_limit_counts_over_two_processes_at_once(callers, strict):
    """S12: exact, over processes, 404s counted."""
    caller = await callers.attendee()
    async with serving(strict) as here, serving(strict) as there:
        both = (caller.through(here), caller.through(there))

        answers = await asyncio.gather(
            *(both[number % 2].book("0a0a0a0a-0000-4000-8000-00000000aaaa") for number in range(40))
        )

    assert Counter(answer.status_code for answer in answers) == {404: 10, 429: 30}


async def test_limits_are_told_on_success_and_on_refusal(callers, strict):
    organizer = await callers.organizer()
    async with serving(strict) as client:
        caller = organizer.through(client)

        first = await caller.post("/api/v1/events", event_draft())
        await caller.post("/api/v1/events", event_draft())
        refused = await caller.post("/api/v1/events", event_draft())

    assert first.headers["RateLimit-Policy"] == '"event_create";q=2;w=3600'
    assert first.headers["RateLimit"] == '"event_create";r=1;t=1800'
    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert 1790 <= int(refused.headers["Retry-After"]) <= 1800
    assert refused.json()["retry_after_seconds"] == int(refused.headers["Retry-After"])
    assert refused.headers["RateLimit"].startswith('"event_create";r=0;t=')


async def test_a_refused_key_is_counted_and_told(callers, strict):
    event, other = [await (await callers.organizer()).make_event() for _ in range(2)]
    buyer = await callers.attendee()
    async with serving(strict) as client:
        caller = buyer.through(client)
        await caller.book(event["id"], key="k")

        refused = [await caller.book(asked, key="k", quantity=2) for asked in (event["id"], other["id"])]

    assert [answer.json()["code"] for answer in refused] == ["idempotency_key_reused"] * 2
    assert [answer.headers["RateLimit-Policy"] for answer in refused] == ['"booking_create";q=10;w=3600'] * 2
    assert [answer.headers["RateLimit"].partition(";t=")[0] for answer in refused] == [
        '"booking_create";r=8',
        '"booking_create";r=7',
    ]


async def test_one_account_does_not_use_up_anothers_limit(callers, strict):
    one, other = await callers.organizer(), await callers.organizer()
    async with serving(strict) as client:
        for _ in range(3):
            last = await one.through(client).post("/api/v1/events", event_draft())

        answer = await other.through(client).post("/api/v1/events", event_draft())

    assert (last.status_code, answer.status_code) == (429, 201)


async def test_logins_are_counted_by_address_and_account(callers, limited_client):
    """S11: nobody locks another account out."""
    caller, other = await callers.attendee(), await callers.attendee()

    wrong = [
        await limited_client.post("/api/v1/auth/login", json={"email": caller.email, "password": "not this one"})
        for _ in range(6)
    ]
    right = await limited_client.post("/api/v1/auth/login", json={"email": other.email, "password": PASSWORD})

    assert [answer.status_code for answer in wrong] == [401] * 5 + [429]
    assert right.status_code == 200


async def test_guesses_with_a_stolen_token_are_counted_by_account_as_logins_are(callers, limited_client):
    """S11: neither `PATCH /me` nor `DELETE /me` is a faster way to try passwords than a login."""
    caller = (await callers.attendee()).through(limited_client)
    other = (await callers.attendee()).through(limited_client)
    guess = {"current_password": "not this one"}

    changing = [await caller.patch("/api/v1/me", guess) for _ in range(3)]
    leaving = [await caller.call("DELETE", "/api/v1/me", json=guess) for _ in range(3)]
    right = await other.patch("/api/v1/me", {"current_password": PASSWORD})

    assert [answer.status_code for answer in changing + leaving] == [403] * 5 + [429]
    assert leaving[-1].json()["limit"] == "login"
    assert right.status_code == 200
    assert (await caller.get("/api/v1/me")).status_code == 200


async def test_signups_are_counted_by_address(limited_client):
    answers = [
        await limited_client.post("/api/v1/auth/signup", json={"email": f"{n}@example.org", "password": PASSWORD})
        for n in range(6)
    ]

    assert [answer.status_code for answer in answers] == [201] * 5 + [429]


async def test_addresses_have_limits_of_their_own(clean, settings):  # noqa: ARG001
    """S12: an IPv6 network of 64 bits counts as one."""
    few = settings.model_copy(update={"limit_default": Limit.parse("1/3600")})
    async with (
        serving(few, client=("2001:db8::1", 1)) as one,
        serving(few, client=("2001:db8::2", 1)) as neighbour,
        serving(few, client=("2001:db8:0:1::1", 1)) as other,
    ):
        statuses = [(await client.get("/api/v1/events")).status_code for client in (one, neighbour, other)]

    assert statuses == [200, 429, 200]


async def test_a_header_does_not_change_the_address_unless_a_trusted_proxy_sent_it(clean, settings):  # noqa: ARG001
    """S13: nobody is trusted by default."""
    few = settings.model_copy(update={"limit_default": Limit.parse("1/3600")})
    async with serving(few) as client:
        first = await client.get("/api/v1/events", headers={"X-Forwarded-For": "192.0.2.1"})
        second = await client.get("/api/v1/events", headers={"X-Forwarded-For": "192.0.2.2"})

    assert (first.status_code, second.status_code) == (200, 429)


async def test_without_redis_reads_pass_and_logins_are_refused(limited_client, callers, valkey):
    """S12: fails open for what reads, closed for the rest."""
    caller = await callers.attendee()
    valkey.stop()

    read = await caller.through(limited_client).get("/api/v1/me")
    login = await limited_client.post("/api/v1/auth/login", json={"email": caller.email, "password": PASSWORD})

    assert read.status_code == 200
    assert (login.status_code, login.json()["code"]) == (503, "unavailable")


async def test_health_is_answered_without_redis_and_without_limit(limited_client, valkey):
    valkey.stop()

    answers = [await limited_client.get("/health/live") for _ in range(400)]
    ready = await limited_client.get("/health/ready")

    assert {answer.status_code for answer in answers} == {200}
    assert ready.status_code == 503
    assert ready.json()["redis"] == "does not answer"


REFUSED_BODIES = {
    "POST /api/v1/events": ("organizer", "limit_event_create", {"title": ""}),
    "PATCH /api/v1/events/{event}": ("organizer", "limit_event_update", {"capacity": 0}),
    "POST /api/v1/events/{event}/ticket-types": ("organizer", "limit_catalogue_update", {"name": ""}),
    "PATCH /api/v1/events/{event}/ticket-types/{type_id}": ("organizer", "limit_catalogue_update", {"weight": 0}),
    "POST /api/v1/events/{event}/pools": ("organizer", "limit_catalogue_update", {"name": "Hall"}),
    "PATCH /api/v1/events/{event}/pools/{pool_id}": ("organizer", "limit_catalogue_update", {"size": -1}),
    "POST /api/v1/events/{event}/promo-codes": ("organizer", "limit_catalogue_update", {"count": 2}),
    "PATCH /api/v1/events/{event}/promo-codes/{code_id}": ("organizer", "limit_catalogue_update", {"max_uses": 0}),
    "POST /api/v1/bookings": ("attendee", "limit_booking_create", {"event_id": "none", "quantity": 0}),
    "POST /api/v1/events/{event}/comps": ("organizer", "limit_booking_create", {"email": "none", "items": []}),
    "PATCH /api/v1/bookings/{event}": ("attendee", "limit_booking_change", {"items": []}),
    "POST /api/v1/bookings/{booking}/confirm": ("attendee", "limit_payment_confirm", {"amount_minor": 0}),
    "POST /api/v1/bookings/{booking}/refund-paid": ("organizer", "limit_payment_confirm", {"amount_minor": 0}),
    "PATCH /api/v1/me": ("attendee", "limit_login", {"current_password": PASSWORD, "email": "none"}),
    "DELETE /api/v1/me": ("attendee", "limit_login", {}),
    "PATCH /api/v1/admin/users/role/{id}": ("admin", "limit_admin_write", {"role": "king"}),
    "POST /api/v1/auth/signup": (None, "limit_signup", {"email": "none", "password": PASSWORD}),
    "POST /api/v1/auth/login": (None, "limit_login_address", {"email": "a@example.org"}),
    "POST /api/v1/admin/auth/login": (None, "limit_login_address", {"email": 5, "password": PASSWORD}),
}
"""Of each route with a body and a limit of its own: who calls, which limit, and a body that breaks a rule."""

RARELY = Limit.parse("1/3600")


def test_every_route_with_a_body_and_a_limit_of_its_own_is_here(settings):
    found = {
        f"{method} {route.path_format}"
        for route in create_litestar(settings).routes
        for handler in getattr(route, "route_handlers", [])
        for method in handler.http_methods
        if JsonBody.takes_body(handler)
        and {declared_access(handler).limit, declared_access(handler).limit_address} - {"default", None}
    }

    shown = {
        route.replace("{event}", "{event_id}").replace("{booking}", "{booking_id}").replace("{id}", "{user_id}")
        for route in REFUSED_BODIES
    }
    shown = {route.replace("/bookings/{event_id}", "/bookings/{booking_id}") for route in shown}
    assert found == shown


@pytest.fixture
async def refused(callers, request):
    """Sends, to a process of a test's choice, a request whose body breaks a rule."""
    method, path = request.param.split()
    role, _, broken = REFUSED_BODIES[request.param]
    organizer = await callers.organizer()
    event = await organizer.make_event()
    caller = organizer if role == "organizer" else await getattr(callers, role)() if role else None
    nobodys = dict.fromkeys(("type_id", "pool_id", "code_id"), NOBODYS_ID)
    path = path.format(event=event["id"], id=organizer.id, booking=organizer.id, **nobodys)

    async def send(to):
        if caller:
            return await caller.through(to).call(method, path, json=broken)
        return await to.request(method, path, json=broken)

    return send


@pytest.mark.parametrize("refused", REFUSED_BODIES, indirect=True)
async def test_a_refused_body_does_not_use_up_the_limit_of_its_route(refused, settings, request):
    _, limit, _ = REFUSED_BODIES[request.node.callspec.params["refused"]]
    async with serving(settings.model_copy(update={limit: RARELY})) as client:
        answers = [await refused(client) for _ in range(3)]
        answers += [await client.get("/health/live")]

    assert [answer.status_code for answer in answers] == [422, 422, 422, 200]
    assert answers[0].headers["RateLimit-Policy"].startswith('"default"')


@pytest.mark.parametrize("refused", REFUSED_BODIES, indirect=True)
async def test_refused_bodies_use_up_the_default_limit(refused, settings):
    strict = settings.model_copy(update={"limit_default": Limit.parse("3/3600")})
    async with serving(strict) as client:
        answers = [await refused(client) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [422, 422, 422, 429]


async def test_after_refused_drafts_an_event_is_made(callers, strict):
    organizer = await callers.organizer()
    async with serving(strict) as client:
        caller = organizer.through(client)
        refused = [await caller.post("/api/v1/events", event_draft(title="")) for _ in range(5)]
        broken = [await caller.call("POST", "/api/v1/events", content=b"{") for _ in range(5)]

        made = [await caller.post("/api/v1/events", event_draft()) for _ in range(3)]

    assert {answer.status_code for answer in refused} == {422}
    assert {answer.status_code for answer in broken} == {400}
    assert [answer.status_code for answer in made] == [201, 201, 429]


@pytest.mark.parametrize(
    ("path", "roles", "told"),
    [
        ("/api/v1/events", ("organizer", "attendee"), [401, 403, 403]),
        # Every role may book, so that only callers without an account are strangers.
        ("/api/v1/bookings", ("attendee", "organizer"), [401, 400, 413]),
    ],
)
async def test_a_body_too_large_is_counted_and_a_stranger_is_refused_before_it_is_read(  # noqa: PLR0913, PLR0917  (fixtures)
    callers, client, settings, path, roles, told
):
    caller, other = [await getattr(callers, role)() for role in roles]
    large = b'{"title": "' + b"x" * 70_000 + b'"}'
    strict = settings.model_copy(update={"limit_default": Limit.parse("1/3600")})
    async with serving(strict) as there:
        sizes = [await caller.through(there).call("POST", path, content=large) for _ in range(2)]

    unknown = await client.post(path, content=large)
    others = [await other.call("POST", path, content=content) for content in (b"{", large)]

    assert [answer.status_code for answer in sizes] == [413, 429]
    assert [answer.status_code for answer in (unknown, *others)] == told


@pytest.mark.parametrize("key", ["", "two words", "x" * 256])
async def test_a_refused_idempotency_key_is_counted_by_the_default_limit(callers, settings, key):
    attendee = await callers.attendee()
    strict = settings.model_copy(update={"limit_default": Limit.parse("2/3600"), "limit_booking_create": RARELY})
    async with serving(strict) as client:
        body = {"event_id": "0a0a0a0a-0000-4000-8000-00000000aaaa"}
        answers = [
            await attendee.through(client).post("/api/v1/bookings", body, headers={"Idempotency-Key": key})
            for _ in range(3)
        ]

    assert [answer.status_code for answer in answers] == [422, 422, 429]
