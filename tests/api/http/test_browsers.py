"""Browsers and proxies: CORS, allowed hosts, forwarded addresses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from domain.platform.settings import Limit, Settings
from tests.api.conftest import serving

SHOP = "https://shop.example.org"


async def _preflight(client, origin):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, idempotency-key",
    }
    return await client.options("/api/v1/bookings", headers=headers)


async def test_only_named_origins_may_call(clean, unlimited):  # noqa: ARG001
    """S23: origins are exact."""
    async with serving(unlimited.model_copy(update={"cors_origins": (SHOP,)})) as client:
        named, other = await _preflight(client, SHOP), await _preflight(client, "https://shop.example.org.evil.example")
        read = await client.get("/api/v1/events", headers={"Origin": SHOP})

    assert named.headers["Access-Control-Allow-Origin"] == SHOP
    assert "Access-Control-Allow-Origin" not in other.headers
    assert read.headers["Access-Control-Allow-Origin"] == SHOP
    assert "RateLimit" in read.headers["Access-Control-Expose-Headers"].split(", ")
    assert "Access-Control-Allow-Credentials" not in read.headers


async def test_an_options_that_is_no_preflight_of_a_named_origin_is_answered_as_without_origin(clean, unlimited):  # noqa: ARG001
    """The framework's own refusal is text, and no problem."""
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-unknown"}
    cases = [{"Origin": SHOP}, {"Origin": "https://evil.example"} | preflight, {"Origin": "https://evil.example"}]
    async with serving(unlimited.model_copy(update={"cors_origins": (SHOP,)})) as client:
        answers = [await client.options("/api/v1/bookings", headers=case) for case in cases]
        elsewhere = await client.get("/api/v1/events", headers={"Origin": "https://evil.example"})
        nowhere = await client.options("/api/v1/nowhere", headers=cases[1])
        unknown = await client.options("/api/v1/bookings", headers={"Origin": SHOP} | preflight)

    assert [(answer.status_code, answer.headers.get("Allow")) for answer in answers] == [(204, "OPTIONS, POST")] * 3
    assert not any("Access-Control-Allow-Origin" in answer.headers for answer in (*answers, nowhere, elsewhere))
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    assert "x-unknown" not in unknown.headers["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize("path", ["/api/v1/openapi.json", "/api/v1/events", "/api/v1/nowhere"])
async def test_caches_are_told_that_an_answer_depends_on_the_origin(clean, unlimited, path):  # noqa: ARG001
    """Else a cache gives a page of a named origin the answer that it kept for somebody without one."""
    async with serving(unlimited.model_copy(update={"cors_origins": (SHOP,)})) as client:
        answers = [
            await client.get(path, headers={"Origin": origin} if origin else {})
            for origin in (None, SHOP, "https://evil.example")
        ]

    assert [answer.headers.get("Vary", "").split(", ").count("Origin") for answer in answers] == [1, 1, 1]


async def test_without_named_origins_none_may_call(client):
    answer = await client.get("/api/v1/events", headers={"Origin": SHOP})

    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_only_named_hosts_are_answered(clean, unlimited):  # noqa: ARG001
    """S23: when a list of hosts is set."""
    async with serving(unlimited.model_copy(update={"allowed_hosts": ("onsale.test",)})) as client:
        ours = await client.get("/health/live")
        other = await client.get("/api/v1/events", headers={"Host": "evil.example"})

    assert ours.status_code == 200
    assert (other.status_code, other.json()["code"]) == (400, "bad_request")


async def test_a_trusted_proxy_is_believed_up_to_the_first_hop_nobody_vouches_for(settings, clean):  # noqa: ARG001
    """S13: the right-most hop that is not trusted counts."""
    proxies = Settings.model_validate({"trusted_proxies": "127.0.0.0/8, 10.0.0.0/8"}).trusted_proxies
    few = settings.model_copy(update={"trusted_proxies": proxies, "limit_default": Limit.parse("1/3600")})
    async with serving(few) as client:
        chains = ["192.0.2.1", "192.0.2.2", "198.51.100.9, 192.0.2.1", "192.0.2.3, 10.1.2.3", "nonsense"]
        statuses = [
            (await client.get("/api/v1/events", headers={"X-Forwarded-For": chain})).status_code for chain in chains
        ]

    assert statuses == [200, 200, 429, 200, 200]


@pytest.mark.parametrize("origins", ["*", "https://a.example/path", "null", "https://*.example.org"])
def test_origins_are_exact(origins):
    with pytest.raises(ValidationError):
        Settings.model_validate({"cors_origins": origins})


@pytest.mark.parametrize(
    "hosts", ["https://shop.example.org", "shop.example.org:8000", "shop.example.org/", "*", "a b"]
)
def test_hosts_that_no_request_can_name_are_refused(hosts):
    with pytest.raises(ValidationError, match="without a scheme, a port or a path"):
        Settings.model_validate({"allowed_hosts": hosts})


def test_hosts_are_names_and_addresses():
    hosts = "shop.example.org, localhost, 127.0.0.1, [::1], onsale_api"

    assert len(Settings.model_validate({"allowed_hosts": hosts}).allowed_hosts) == 5
