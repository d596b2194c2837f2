"""Admission: whether a token's session is alive, and whether its account may make one more request.

PostgreSQL is the truth of sessions. Redis has a copy of those that were used lately. The copy is valid only in the
epoch in which it was written, and every change is written to Redis before the change is answered. The counts of the
rate limits are in Redis alone.

Sessions fail closed: without Redis PostgreSQL is asked, and without both nothing is admitted. Rate limits of requests
that only read fail open, the others fail closed.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct

from domain.accounts.accounts import Standing
from domain.accounts.tokens import Token, unauthenticated
from domain.kernel.idempotency import fingerprint, key_reused
from domain.kernel.refusals import InventoryUnavailable, RateLimited, Unavailable
from domain.store.postgres.accounts.session_reads import Standings
from domain.store.redis.scripts import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.accounts.accounts import Account, AccountSession
    from domain.kernel.bookings import NewBooking
    from domain.platform.settings import Limit
    from domain.store.postgres.accounts.sessions import Sessions
    from domain.store.redis.pipeline import Pipeline
    from domain.store.redis.scripts import Answered, Scripts

ACCOUNT_LIFETIME_MS = 1_800_000
"""How long Redis keeps an account; after that PostgreSQL is asked again."""

READ_AGE_MS_MAX = 5_000
"""The maximum age of a PostgreSQL reading that is stored in Redis.

Far below ACCOUNT_LIFETIME_MS: a session that ended after the reading is still marked as over in Redis.
"""

KEY_LIFETIME_MS = 86_400_000
"""How long the reuse of an idempotency key for another event is detected.

Reuse for the same event is always detected, by the booking's id.
"""

DIGEST_BYTES = 16
"""128 bits, so that two keys of one account do not collide."""

ASKED_MAX = 3
"""Calls of the admission script for one request: the first, one after PostgreSQL was read, and one spare."""


class Rule(Struct, frozen=True, kw_only=True):
    """A rate limit as the scripts take it: one request per `interval_us`, with a burst of `period_us` / `interval_us`.

    The generic cell rate algorithm (ITU-T I.371): exact, with one number per key.
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
        """The rule for a setting. `policy` is its text for callers."""
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
    """A request that may go on, with what remains of its limit and when the limit is fully available again."""

    rule: Rule | None
    remaining: int = 0
    reset_s: int = 0


UNCOUNTED = Admitted(None)
"""A request without a limit, or one that could not be counted."""


class Ask(Struct, gc=False):
    """One request of an account, and the limit that counts it. It is admitted by the first call that it asks for.

    `subject` is what the rule counts by besides the account. `admitted` is set once the request is admitted, so no
    later call checks or counts it again. Without a token the caller is this software itself, which is not checked.
    """

    account_id: UUID
    token: Token | None
    rule: Rule | None = None
    subject: str = ""
    admitted: Admitted | None = None

    @classmethod
    def by(cls, token: Token, rule: Rule | None = None, *, subject: str = "") -> Ask:
        """A request with a token, which is to be admitted."""
        return cls(token.account_id, token, rule, subject)

    @classmethod
    def trusted(cls, account_id: UUID) -> Ask:
        """A request for an account by this software itself."""
        return cls(account_id, None, admitted=UNCOUNTED)


class Admission:
    """Admits requests by Redis, and by PostgreSQL if Redis does not know the session."""

    def __init__(self, scripts: Scripts, pipeline: Pipeline, sessions: Sessions) -> None:
        self._scripts = scripts
        self._pipeline = pipeline
        self._standings = Standings(sessions)

    async def admit(self, ask: Ask, new: NewBooking | None = None, *, then: Command | None = None) -> Answered | None:
        """Admit one request (admit_request.lua), and set its `admitted`. A request that was admitted is left alone.

        The idempotency key of the booking that it asks for is bound to that booking. `then` is run in the same call.

        Returns:
            The answer of `then`; None if it was not run.

        Raises:
            Unauthenticated: the session is over, or all tokens of the account were ended.
            RateLimited: carries `retry_after_seconds` and the limit.
            IdempotencyKeyReused: the key came with another request before. The request was counted, so `admitted` is
                set.
            Unavailable: neither Redis nor PostgreSQL can answer; or Redis cannot, and the limit fails closed.
        """
        token = ask.token
        if token is None or ask.admitted is not None:
            return None
        command, after = _admission_of(ask, token, new), None
        for _ in range(ASKED_MAX):
            try:
                if then is None:
                    answer = await self._scripts.call(command.name, command.keys, command.args)
                else:
                    answer, after = await self._scripts.call_joined(command, then)
            except Unavailable:
                break
            if answer[0] != b"unknown":
                ask.admitted = _admitted(answer, ask.rule)
                if answer[0] == b"mismatch":
                    raise key_reused()
                return after
            epoch = self._scripts.epoch
            standing = await self._standing(token)
            try:
                await self._remember(token, standing, read_ms=answer[1], read_in=epoch)
            except InventoryUnavailable:
                continue
            except Unavailable:
                break
        ask.admitted = await self._admit_by_postgres(token, ask.rule)
        return None

    async def admit_address(self, address: str, rule: Rule, *, subject: str = "") -> Admitted:
        """Admit one anonymous request (admit_anonymous_request.lua). It is counted by address and `subject`.

        Raises:
            RateLimited: carries `retry_after_seconds` and the limit.
            Unavailable: Redis cannot answer, and the limit fails closed.
        """
        key = f"{{n:{address}}}:limit:{rule.name}:{_digest(subject)}"
        try:
            return _admitted(
                await self._scripts.call("admit_anonymous_request", [key], [rule.interval_us, rule.period_us]), rule
            )
        except Unavailable:
            if rule.fails_open:
                return UNCOUNTED
            raise

    @property
    def epoch(self) -> int:
        """The epoch this process believes in."""
        return self._scripts.epoch

    async def session_opened(
        self, account: Account, session: AccountSession, *, ended: Sequence[UUID], opened_in: int
    ) -> None:
        """Write to Redis that a session began, and which sessions ended because of it.

        `opened_in` is the epoch from before the session was committed. In a later one Redis may have been wiped, and
        does not know whether the session ended since: it is not stored, and its first request reads PostgreSQL.

        Raises:
            Unavailable: Redis was not told, so the tokens of the session must not be handed out.
        """
        over = [(session_id, "over") for session_id in ended]
        try:
            await self._know(account.id, account.token_epoch, [(session.id, "lives"), *over], epoch=opened_in)
        except InventoryUnavailable:
            await self._tell(account.id, account.token_epoch, over)

    async def sessions_ended(self, account_id: UUID, session_ids: Sequence[UUID]) -> None:
        """Write to Redis that these sessions are over. Call it before the answer is sent; raises Unavailable."""
        await self._tell(account_id, 0, [(session_id, "over") for session_id in session_ids])

    async def tokens_ended(self, account: Account) -> None:
        """Write to Redis that tokens of earlier epochs are dead, before the answer is sent; raises Unavailable."""
        await self._tell(account.id, account.token_epoch, [])

    async def _standing(self, token: Token) -> Standing:
        standing = await self._standings.of(token.session_id)
        if standing is None:
            # The session is over and was deleted. Redis keeps that, so that a dead token does not read PostgreSQL each
            # time.
            return Standing(token.account_id, 0, live=False)
        if standing.account_id != token.account_id or standing.token_epoch < token.epoch:
            raise unauthenticated()
        return standing

    async def _admit_by_postgres(self, token: Token, rule: Rule | None) -> Admitted:
        standing = await self._standing(token)
        if not standing.live or standing.token_epoch != token.epoch:
            raise unauthenticated()
        if rule and not rule.fails_open:
            detail = "Requests cannot be counted at this moment."
            raise Unavailable(detail, retry_after_seconds=1)
        return UNCOUNTED

    async def _remember(self, token: Token, standing: Standing, *, read_ms: int, read_in: int) -> None:
        """Store PostgreSQL's answer in Redis, unless it is too old (store_account.lua) or its epoch is over.

        A session that ended since the reading stands as over in Redis, but not after Redis was wiped.

        Raises:
            InventoryUnavailable: the epoch `read_in` is over.
        """
        args: list[Any] = [standing.token_epoch, ACCOUNT_LIFETIME_MS, read_ms, READ_AGE_MS_MAX]
        state = "lives" if standing.live else "over"
        args += (token.session_id.hex, state)
        await self._scripts.call("store_account", [f"{_tag(token.account_id)}:account"], args, epoch=read_in)

    async def _tell(self, account_id: UUID, token_epoch: int, states: Sequence[tuple[UUID, str]]) -> None:
        """Write a committed change to Redis (store_account.lua); if its epoch is over, in the next one."""
        try:
            await self._know(account_id, token_epoch, states)
        except InventoryUnavailable:
            await self._know(account_id, token_epoch, states)

    async def _know(
        self, account_id: UUID, token_epoch: int, states: Sequence[tuple[UUID, str]], *, epoch: int | None = None
    ) -> None:
        flat = [word for session_id, state in states for word in (session_id.hex, state)]
        args = [token_epoch, ACCOUNT_LIFETIME_MS, 0, READ_AGE_MS_MAX, *flat]
        await self._scripts.call("store_account", [f"{_tag(account_id)}:account"], args, epoch=epoch)


def _admission_of(ask: Ask, token: Token, new: NewBooking | None) -> Command:
    """The command that admits a request."""
    tag, rule = _tag(token.account_id), ask.rule
    keys = [f"{tag}:account", f"{tag}:limit:{rule.name if rule else ''}{ask.subject}"]
    request = ""
    if new is not None and new.order.idempotency_key is not None:
        keys.append(f"{tag}:key:{_digest(new.order.idempotency_key)}")
        request = fingerprint(new)
    interval_us, period_us = (rule.interval_us, rule.period_us) if rule else (0, 0)
    args = [token.session_id.hex, token.epoch, interval_us, period_us, request, KEY_LIFETIME_MS]
    return Command("admit_request", keys, args)


def _tag(account_id: UUID) -> str:
    return f"{{a:{account_id.hex}}}"


def _digest(text: str) -> str:
    """A key part of fixed length for a text of any length."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest() if text else ""


def _admitted(answer: list[Any], rule: Rule | None) -> Admitted:
    """The result or the exception for a script's answer."""
    match answer[0]:
        case b"admitted" | b"mismatch":
            return Admitted(rule, answer[1], math.ceil(answer[2] / 1000))
        case b"limited":
            retry_s = max(1, math.ceil(answer[1] / 1000))
            detail = f"{_limit_text(rule)}Try again in {retry_s} s."
            raise RateLimited(detail, retry_after_seconds=retry_s, **_limit_facts(rule))
        case _:
            raise unauthenticated()


def _limit_text(rule: Rule | None) -> str:
    return f"The limit `{rule.name}` is {rule.quota} requests in {rule.period_s} s. " if rule else ""


def _limit_facts(rule: Rule | None) -> dict[str, Any]:
    return {"limit": rule.name, "quota": rule.quota, "window_seconds": rule.period_s} if rule else {}
