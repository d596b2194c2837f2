"""Loaded by schemathesis: who its requests come from.

Requests end sessions, switch roles and ban accounts; whatever they did to their own caller is undone before
the next one, or most of them would be told 401 and test nothing.
"""

from __future__ import annotations

import os
from typing import Any

import httpx
import schemathesis

from tests.contract.fuzzing import answers

__all__ = ["answers"]

API = os.environ["FUZZED_API"]
ROLE = os.environ["FUZZED_ROLE"]
EMAIL = os.environ["FUZZED_EMAIL"]
ACCOUNT_ID = os.environ["FUZZED_ACCOUNT_ID"]
KEEPER_EMAIL = os.environ["FUZZED_KEEPER_EMAIL"]
PASSWORD = os.environ["FUZZED_PASSWORD"]

_client = httpx.Client(base_url=API, timeout=20)


def _kind(case: Any, _context: Any) -> str:
    return "refresh_token" if "refresh_token" in case.operation.path else "access_token"


@schemathesis.auth(cache_by_key=_kind, retry_on=[401])
class Caller:
    """The role's account: logs in when its token has ended, as what it was at first."""

    def get(self, case: Any, context: Any) -> str:
        token: str = _session()[_kind(case, context)]
        return token

    def set(self, case: Any, data: str, _context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


def _session() -> dict[str, Any]:
    answer = _log_in(EMAIL)
    if answer.status_code != 200 or answer.json()["user"]["role"] != ROLE:
        _restore()
        answer = _log_in(EMAIL)
    session: dict[str, Any] = answer.raise_for_status().json()
    return session


def _restore() -> None:
    keeper = {"Authorization": f"Bearer {_log_in(KEEPER_EMAIL).raise_for_status().json()['access_token']}"}
    _client.post(f"/api/v1/admin/users/{ACCOUNT_ID}/unban", headers=keeper).raise_for_status()
    body = {"role": ROLE}
    _client.patch(f"/api/v1/admin/users/role/{ACCOUNT_ID}", headers=keeper, json=body).raise_for_status()


def _log_in(email: str) -> httpx.Response:
    return _client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
