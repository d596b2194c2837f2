"""Admission: whether a token's session still lives and whether its bearer may make one more request.

PostgreSQL is the truth of sessions. Redis has a copy of what was asked for lately, believed only in the
epoch it was written in, and is told of every change before that change is answered. The counts of the
limits are in Redis alone.

Fails closed for sessions: without Redis PostgreSQL is asked, without both nothing is admitted. Fails
open for the limits of what only reads, closed for the others.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from domain.accounts.accounts import Standing
from domain.kernel.refusals import IdempotencyKeyReused, InventoryUnavailable, RateLimited, Unauthenticated, Unavailable
from domain.store.postgres.session_reads import Standings
from domain.store.redis.scripts import Answered, Command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from domain.accounts.accounts import Account, Session
    from domain.accounts.tokens import Token
    from domain.platform.settings import Limit
    from domain.store.postgres.accounts import Accounts
    from domain.store.redis.pipeline import Pipeline
    from domain.store.redis.scripts import Scripts

ACCOUNT_LIFETIME_MS = 1_800_000
"""How long Redis remembers an account; after that PostgreSQL is asked once more."""

READ_AGE_MS_MAX = 5_000
"""How old a reading of PostgreSQL may be to be kept in Redis.

Far below ACCOUNT_LIFETIME_MS: a session that ended since that reading is then still in Redis as over.
"""

KEY_LIFETIME_MS = 86_400_000
"""How long a reused idempotency key is recognised when it comes with another event.

The same event's bookings are recognised for ever, by their id.
"""

DIGEST_BYTES = 16
"""128 bits: two keys of one account never meet."""

ASKED_MAX = 3
"""How often admission is asked for one request: at first, after PostgreSQL was read, and once more for luck."""


class Rule(Struct, frozen=True, kw_only=True):
    """A limit as scripts take it: one request each `interval_us`, and a burst of as many as `period_us` gives back.

    The generic cell rate algorithm (ITU-T I.371): exact, one number for each key.
    """

    name: str
    quota: int
    period_s: int
    interval_us: int
    period_us: int
    policy: bytes
    fails_open: bool

    @classmethod
    def of(cls, name: str, limit: Limit, *, fails_open: bool) -> Rule:
        """The rule a setting asks for. `policy` is how callers are told of it."""
        period_us = limit.period_s * 1_000_000
        return cls(
            name=name,
            quota=limit.count,
            period_s=limit.period_s,
            interval_us=max(1, period_us // limit.count),
            period_us=period_us,
            policy=f'"{name}";q={limit.count};w={limit.period_s}'.encode(),
            fails_open=fails_open,
        )


class Admitted(Struct, frozen=True, gc=False):
    """A request that may go on: what is left of its limit, and when all of it will be back.

    `after` is the answer of the command that was to follow, if it was run.
    """

    rule: Rule | None
    remaining: int = 0
    reset_s: int = 0
    after: Answered | None = None


UNCOUNTED = Admitted(None)
"""A request no limit was asked for, or none could be."""


class Ask(Struct, frozen=True, gc=False):
    """What a request needs to be admitted for.

    `subject` is what the rule counts by besides the account. `key` is the caller's idempotency key, and
    `body` what it asks for with it.
    """

    rule: Rule | None
    subject: str = ""
    key: str | None = None
    body: str = ""


class Admission:
    """Asks Redis, and PostgreSQL where Redis does not know."""

    def __init__(self, scripts: Scripts, pipeline: Pipeline, accounts: Accounts) -> None:
        self._scripts = scripts
        self._pipeline = pipeline
        self._standings = Standings(accounts)

    async def admit(self, token: Token, ask: Ask, *, then: Command | None = None) -> Admitted:
        """Admit one request of a token's bearer (admit.lua), and run `then` in the same call if it is.

        Raises:
            Unauthenticated: the session is over, or the account's tokens were all ended.
            RateLimited: carries `retry_after_seconds` and the limit.
            IdempotencyKeyReused: the key came with another body before.
            Unavailable: neither Redis nor PostgreSQL can say; or Redis cannot, and the limit fails closed.
        """
        tag, rule = _tag(token.account_id), ask.rule
        keys = [f"{tag}:account", f"{tag}:limit:{rule.name if rule else ''}{ask.subject}"]
        if ask.key is not None:
            keys.append(f"{tag}:key:{_digest(ask.key)}")
        interval_us, period_us = (rule.interval_us, rule.period_us) if rule else (0, 0)
        args = [token.session_id.hex, token.epoch, interval_us, period_us, ask.body, KEY_LIFETIME_MS]
        after = None
        for _ in range(ASKED_MAX):
            try:
                if then is None:
                    answer = await self._scripts.call("admit", keys, args)
                else:
                    answer, after = await self._scripts.call_joined(Command("admit", keys, args), then)
            except Unavailable:
                break
            if answer[0] != b"unknown":
                return _admitted(answer, rule, after)
            standing = await self._standing(token)
            try:
                await self._remember(token, standing, read_ms=answer[1])
            except Unavailable:
                break
        return await self._admit_by_postgres(token, rule)

    async def admit_address(self, address: str, rule: Rule, *, subject: str = "") -> Admitted:
        """Admit one request of somebody unknown (limit.lua), by address and what else the rule counts by.

        Raises:
            RateLimited: carries `retry_after_seconds` and the limit.
            Unavailable: Redis cannot say, and the limit fails closed.
        """
        key = f"{{n:{address}}}:limit:{rule.name}:{_digest(subject)}"
        try:
            return _admitted(await self._scripts.call("limit", [key], [rule.interval_us, rule.period_us]), rule)
        except Unavailable:
            if rule.fails_open:
                return UNCOUNTED
            raise

    async def session_opened(self, account: Account, session: Session, *, ended: Sequence[UUID]) -> None:
        """Tell Redis of a session that began, and of those that ended for it.

        Raises:
            Unavailable: Redis was not told, so the session must not be handed out.
        """
        states = [(session.id, "lives"), *((session_id, "over") for session_id in ended)]
        await self._tell(account.id, account.token_epoch, states)

    async def sessions_ended(self, account_id: UUID, session_ids: Sequence[UUID]) -> None:
        """Tell Redis, before it is answered, that these sessions are over; raises Unavailable."""
        await self._tell(account_id, 0, [(session_id, "over") for session_id in session_ids])

    async def tokens_ended(self, account: Account) -> None:
        """Tell Redis, before it is answered, that tokens of an earlier epoch are dead; raises Unavailable."""
        await self._tell(account.id, account.token_epoch, [])

    async def _standing(self, token: Token) -> Standing:
        standing = await self._standings.of(token.session_id)
        if standing is None:
            # Over, and deleted since; kept in Redis, so that a dead token does not ask PostgreSQL each time.
            return Standing(token.account_id, 0, live=False)
        if standing.account_id != token.account_id or standing.token_epoch < token.epoch:
            raise _over()
        return standing

    async def _admit_by_postgres(self, token: Token, rule: Rule | None) -> Admitted:
        standing = await self._standing(token)
        if not standing.live or standing.token_epoch != token.epoch:
            raise _over()
        if rule and not rule.fails_open:
            detail = "Requests cannot be counted at this moment."
            raise Unavailable(detail, retry_after_seconds=1)
        return UNCOUNTED

    async def _remember(self, token: Token, standing: Standing, *, read_ms: int) -> None:
        """Keep what PostgreSQL said, if that is not too long ago (know.lua)."""
        args = [standing.token_epoch, ACCOUNT_LIFETIME_MS, read_ms, READ_AGE_MS_MAX]
        state = "lives" if standing.live else "over"
        await self._scripts.call("know", [f"{_tag(token.account_id)}:account"], [*args, token.session_id.hex, state])

    async def _tell(self, account_id: UUID, token_epoch: int, states: Sequence[tuple[UUID, str]]) -> None:
        """Write a committed change to Redis (know.lua), in the epoch that follows if this one is over."""
        flat = [word for session_id, state in states for word in (session_id.hex, state)]
        args = [token_epoch, ACCOUNT_LIFETIME_MS, 0, READ_AGE_MS_MAX, *flat]
        keys = [f"{_tag(account_id)}:account"]
        try:
            await self._scripts.call("know", keys, args)
        except InventoryUnavailable:
            await self._scripts.call("know", keys, args)


def _tag(account_id: UUID) -> str:
    return f"{{a:{account_id.hex}}}"


def _digest(text: str) -> str:
    """A key part of fixed length, whatever a caller sent."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest() if text else ""


def _admitted(answer: list[Any], rule: Rule | None, after: Answered | None = None) -> Admitted:
    """What the scripts' words mean."""
    match answer[0]:
        case b"admitted":
            return Admitted(rule, answer[1], math.ceil(answer[2] / 1000), after)
        case b"limited":
            retry_s = max(1, math.ceil(answer[1] / 1000))
            detail = f"Try again in {retry_s} s."
            raise RateLimited(detail, retry_after_seconds=retry_s, **_told(rule))
        case b"mismatch":
            detail = "This idempotency key came with another request before."
            raise IdempotencyKeyReused(detail)
        case _:
            raise _over()


def _told(rule: Rule | None) -> dict[str, Any]:
    return {"limit": rule.name, "quota": rule.quota, "window_seconds": rule.period_s} if rule else {}


def _over() -> Unauthenticated:
    return Unauthenticated("A valid access token is needed.")
