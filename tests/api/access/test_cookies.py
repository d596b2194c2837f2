"""Cookie sessions: the same as a session with bearer tokens, and only for pages of the same origin."""

from __future__ import annotations

import pytest

from tests.api.callers import PASSWORD
from tests.api.conftest import BASE_URL, serving

ME, REFRESH = "/api/v1/me", "/api/v1/auth/refresh_token"
ASKED = {"Onsale-Session": "cookie", "Sec-Fetch-Site": "same-origin"}
SHOP = "https://shop.example.org"


def set_cookies(answer):
    """The cookies that an answer sets: name, value, attributes."""
    found = {}
    for line in answer.headers.get_list("set-cookie"):
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        found[name] = value, attributes
    return found


async def log_in(client, email, **fields):
    body = {"email": email, "password": PASSWORD}
    return await client.post("/api/v1/auth/login", json=body, headers=ASKED | fields)


@pytest.mark.parametrize(("asked", "prefix", "secure"), [("cookie", "", []), ("secure-cookie", "__Host-", ["Secure"])])
async def test_a_login_for_cookies_sets_two_that_no_script_can_read(callers, client, asked, prefix, secure):
    caller = await callers.attendee()

    answer = await log_in(client, caller.email, **{"Onsale-Session": asked})

    assert (answer.status_code, answer.content) == (204, b"")
    kept = ["HttpOnly", "SameSite=Strict", *secure]
    assert {name: attributes for name, (_, attributes) in set_cookies(answer).items()} == {
        f"{prefix}onsale_access": ["Path=/", "Max-Age=1800", *kept],
        f"{prefix}onsale_refresh": ["Path=/", "Max-Age=604800", *kept],
    }
    caller.access_token, caller.refresh_token = (value for value, _ in set_cookies(answer).values())
    shown = await caller.with_cookies(**{"Onsale-Session": asked}).get(ME)
    assert (shown.status_code, shown.json()["email"]) == (200, caller.email)


CROSS_SITE = {
    "without the header field": {"Onsale-Session": ""},
    "with another value": {"Onsale-Session": "yes"},
    "of another site": {"Sec-Fetch-Site": "cross-site"},
    "of another host of the site": {"Sec-Fetch-Site": "same-site"},
    "typed by the user": {"Sec-Fetch-Site": "none"},
    "of another origin": {"Sec-Fetch-Site": "", "Origin": SHOP},
    "of another port": {"Sec-Fetch-Site": "", "Origin": f"{BASE_URL}:8001"},
    "of no origin": {"Sec-Fetch-Site": "", "Origin": "null"},
    "with a broken token as well": {"Authorization": "Bearer x"},
    "over TLS with the cookies of plain HTTP": {"Onsale-Session": "secure-cookie", "Cookie": "onsale_access={token}"},
    "with the cookie twice": {"Cookie": "onsale_access={token}; onsale_access={token}"},
    "without cookies": {"Cookie": ""},
}


@pytest.mark.parametrize("fields", CROSS_SITE.values(), ids=CROSS_SITE)
@pytest.mark.parametrize("path", [ME, REFRESH])
async def test_cookies_authenticate_only_a_request_of_the_same_origin(callers, fields, path):
    """S2: neither a request without the header field nor one of another origin is anybody's."""
    caller = await callers.attendee()
    sent = {name: value.format(token=caller.access_token) for name, value in fields.items()}

    answer = await caller.with_cookies().call("POST" if path == REFRESH else "GET", path, headers=sent)

    assert answer.status_code == 401
    assert (await caller.with_cookies().get(ME)).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "", "Origin": BASE_URL},
        {"Sec-Fetch-Site": "", "Origin": BASE_URL.replace("http:", "https:")},
        {"Sec-Fetch-Site": ""},
    ],
)
async def test_a_page_of_the_same_origin_is_known_with_and_without_fetch_metadata(callers, fields):
    """Browsers send no fetch metadata over plain HTTP, and no `Origin` with GET to the same origin."""
    caller = (await callers.attendee()).with_cookies()
    sent = {name: value for name, value in fields.items() if value}
    caller.fields.pop("Sec-Fetch-Site")

    assert (await caller.get(ME, headers=sent)).status_code == 200


async def test_a_login_of_another_origin_sets_no_cookie(callers, client):
    caller = await callers.attendee()

    answer = await log_in(client, caller.email, **{"Sec-Fetch-Site": "cross-site", "Origin": SHOP})

    assert set_cookies(answer) == {}


async def test_no_preflight_allows_the_header_field(clean, unlimited):  # noqa: ARG001
    """Also not of an origin that may call with tokens."""
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "onsale-session"}
    async with serving(unlimited.model_copy(update={"cors_origins": (SHOP,)})) as client:
        answer = await client.options(ME, headers=asked)

    assert "onsale-session" not in answer.headers["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_no_answer_tells_a_script_a_token(callers, client):
    """S2: logins, refreshes and new roles of a cookie session have their tokens in cookies alone."""
    caller, admin = await callers.attendee(), await callers.admin()
    page = caller.with_cookies()

    body = {"email": admin.email, "password": PASSWORD}
    answers = [
        await log_in(client, caller.email),
        await client.post("/api/v1/admin/auth/login", json=body, headers=ASKED),
        refreshed := await page.post(REFRESH),
    ]
    page.access_token, page.refresh_token = (value for value, _ in set_cookies(refreshed).values())
    answers += [await page.get(REFRESH), await page.patch("/api/v1/me/role", {"role": "organizer"})]

    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 5
    assert [len(set_cookies(answer)) for answer in answers] == [2] * 5


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_logout_ends_the_session_everywhere_and_deletes_the_cookies(callers, other_client, method):
    caller = await callers.attendee()
    page = caller.with_cookies()

    answer = await page.call(method, "/api/v1/auth/logout")

    assert answer.status_code == 204
    dropped = {name: (value, attributes[:2]) for name, (value, attributes) in set_cookies(answer).items()}
    assert dropped == dict.fromkeys(("onsale_access", "onsale_refresh"), ("", ["Path=/", "Max-Age=0"]))
    for where in (caller, page, caller.through(other_client), page.through(other_client)):
        assert (await where.get(ME)).status_code == 401
        assert (await where.post(REFRESH, token=caller.refresh_token)).status_code == 401


async def test_closing_an_account_deletes_the_cookies(callers):
    page = (await callers.attendee()).with_cookies()

    answer = await page.delete(ME, json={"current_password": PASSWORD})

    assert answer.status_code == 204
    assert {value for value, _ in set_cookies(answer).values()} == {""}


async def test_a_refreshed_cookie_works_once(callers):
    """As a refresh token does: a second use after the successor was used ends the session."""
    page = (await callers.attendee()).with_cookies()
    first = set_cookies(await page.post(REFRESH))["onsale_refresh"][0]
    await page.post(REFRESH, token=first)

    again = await page.post(REFRESH)

    assert again.status_code == 401
    assert (await page.get(ME)).status_code == 401


async def test_a_stream_is_read_with_cookies(callers):
    organizer, caller = await callers.organizer(), await callers.attendee()
    booking = (await caller.book((await organizer.make_event())["id"])).json()
    await caller.delete(f"/api/v1/bookings/{booking['id']}")
    at = f"/api/v1/bookings/{booking['id']}/status"

    told = await caller.with_cookies().get(at, headers={"Accept": "text/event-stream"})
    refused = await caller.with_cookies(**{"Onsale-Session": ""}).get(at, headers={"Accept": "text/event-stream"})

    assert "event: booking" in told.text
    assert refused.status_code == 401
