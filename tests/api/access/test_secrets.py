"""No secret appears in logs, metrics, key names or errors."""

from __future__ import annotations

import json

import httpx

from tests.api.callers import Caller

PASSWORD = "canary-password-7c1e"
ADDRESS = "canary-address-7c1e@example.org"
KEY = "canary-key-7c1e"
FORGED = "canary.token.7c1e"


async def test_what_callers_send_in_confidence_stays_there(clean, processes, valkey):
    """S28: secrets planted everywhere, looked for everywhere."""
    api = processes.api(RATE_LIMITS="on", LOG_FORMAT="json", REQUEST_LOG="on")
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        answers = await _confide(client)
        answers.append(await client.get("/metrics"))
        keys = await clean.pipeline.redis.keys("*")
        valkey.stop()
        answers += await _confide(client)

    said = "\n".join(answer.text for answer in answers if answer.status_code >= 400 or "metrics" in str(answer.url))
    for secret in (PASSWORD, ADDRESS, KEY, FORGED):
        assert secret not in api.output
        assert secret not in said
        assert secret.encode() not in b"\n".join(keys)
    assert {answer.status_code for answer in answers} >= {200, 401, 404, 422, 503}
    lines = [json.loads(line) for line in api.output.splitlines()]
    logged = [line for line in lines if line["event"] == "request"]
    assert len(logged) >= len(answers)
    assert {"request_id", "method", "route", "status", "ms", "account"} <= logged[0].keys()
    assert {line["account"] is None for line in logged} == {True, False}


async def _confide(client):
    """Sign up, log in, book and get things wrong, with secrets everywhere they belong and where they do not."""
    credentials = {"email": ADDRESS, "password": PASSWORD}
    answers = [
        await client.post("/api/v1/auth/signup", json=credentials),
        await client.post("/api/v1/auth/signup", json=credentials | {"role": PASSWORD}),
        await client.post("/api/v1/auth/signup", content=f'{{"password": "{PASSWORD}'),
        await client.get("/api/v1/me", headers={"Authorization": f"Bearer {FORGED}"}),
        await client.get(f"/api/v1/events?limit={PASSWORD}", headers={"X-Request-Id": "x"}),
        await client.post("/api/v1/auth/login", json=credentials),
    ]
    if answers[-1].status_code == 200:
        caller = Caller(client, answers[-1].json())
        answers += [
            await caller.book("0b0b0b0b-0000-4000-8000-000000000002", key=KEY),
            await caller.patch("/api/v1/me", {"current_password": PASSWORD + "x", "password": "a fine long password"}),
        ]
    return answers
