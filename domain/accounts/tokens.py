"""Tokens: signed statements of a caller's identity.

A token proves only that this deployment issued it. `domain.store.redis.admission` checks for each request whether its
session is alive.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID, uuid4, uuid5

import jwt
import msgspec
from msgspec import Struct

from domain.accounts.accounts import Caller, Role
from domain.accounts.signing_keys import LOOK_EVERY_S
from domain.kernel.refusals import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.accounts.accounts import Account
    from domain.accounts.signing_keys import Key, Keys

ALGORITHM = "HS256"
"""The only algorithm for signing and reading: a token does not choose how it is verified (RFC 8725, 3.1)."""

ISSUER = "onsale"
AUDIENCE = "onsale"

LEEWAY_S = 10
"""How far the clocks of two of our machines may be apart."""

TOKEN_BYTES_MAX = 4096
"""The tokens of this deployment have some 500 bytes; longer ones are refused without being read."""

VERIFIED_MAX = 50_000
"""Tokens whose verified signature a process caches, about 1 KB each.

It is enough for everybody who comes to an on-sale, as they all come back within a minute. Beyond it, each request costs
a verification again, which takes as long as half a booking.
"""

REQUIRED_CLAIMS = ("iss", "aud", "sub", "sid", "jti", "iat", "exp", "role", "epoch")


class TokenKind(StrEnum):
    """The purpose of a token. It is in the header `typ`, so that no kind is accepted as the other."""

    ACCESS = "at+jwt"
    REFRESH = "rt+jwt"


class Token(Struct, frozen=True, kw_only=True, gc=False):
    """The content of a verified token.

    `epoch` is the account's `token_epoch` under which it was made. Times are seconds since 1970.
    """

    kind: TokenKind
    id: UUID
    account_id: UUID
    session_id: UUID
    role: Role
    epoch: int
    issued_s: int
    expires_s: int

    @property
    def caller(self) -> Caller:
        """The caller that this token identifies."""
        return Caller(account_id=self.account_id, session_id=self.session_id, token_epoch=self.epoch, role=self.role)


class TokenPair(Struct, frozen=True):
    """The two tokens that a refresh token is exchanged for."""

    access: str
    refresh: str


class _Claims(Struct, frozen=True):
    """The claims in a token; a wrong type means that the token is forged."""

    sub: UUID
    sid: UUID
    jti: UUID
    role: Role
    epoch: int
    iat: int
    exp: int


class Tokens:
    """Issues tokens and reads them."""

    def __init__(self, keys: Keys, lifetime_s: dict[TokenKind, int], *, refresh_grace_s: int = 0) -> None:
        self._keys = keys
        self._looked_s = 0.0
        self.lifetime_s = lifetime_s
        self.refresh_grace_s = refresh_grace_s
        self._verified: dict[str, Token] = {}

    def issue(self, kind: TokenKind, account: Account, *, session_id: UUID, now: datetime) -> str:
        """A new token of this kind for one session of an account."""
        self._look(now.timestamp())
        return self._sign(self._keys.ring.signing, kind, account, session_id=session_id, id_=uuid4(), now=now)

    def successors(self, spent: str, account: Account, *, session_id: UUID, now: datetime) -> Iterator[TokenPair]:
        """The pairs for which a refresh token may be exchanged at `now`: one per signing key, the newest key first.

        The pair is computed from the spent token, the account and the time. So it can be computed again while these
        stay the same, and need not be stored. The spent token alone is not enough to compute it, because the key signs
        it.
        """
        self._look(now.timestamp())
        for key in self._keys.ring.keys:
            access, refresh = (
                self._sign(key, kind, account, session_id=session_id, id_=uuid5(session_id, kind + spent), now=now)
                for kind in (TokenKind.ACCESS, TokenKind.REFRESH)
            )
            yield TokenPair(access, refresh)

    def _sign(  # noqa: PLR0913  (what stands in a token)
        self, key: Key, kind: TokenKind, account: Account, *, session_id: UUID, id_: UUID, now: datetime
    ) -> str:
        issued_s = int(now.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(account.id),
            "sid": str(session_id),
            "jti": str(id_),
            "role": account.role.value,
            "epoch": account.token_epoch,
            "iat": issued_s,
            "exp": issued_s + self.lifetime_s[kind],
        }
        headers = {"kid": key.kid, "typ": kind.value}
        return jwt.encode(claims, key.secret.encode(), algorithm=ALGORITHM, headers=headers)

    def read(self, text: str, kind: TokenKind, *, now_s: float, latest_s: float | None = None) -> Token:
        """The content of a token. Its signature is verified once per process, its times at each call.

        `latest_s` is the time as if this host's clock had never been set back: a token that was issued before it is not
        from the future.

        Raises:
            Unauthenticated: forged, expired, or not of this kind; the refusal does not say which.
        """
        if abs(now_s - self._looked_s) >= LOOK_EVERY_S:
            self._look(now_s)
        token = self._verified.get(text) or self._verify(text, now_s)
        latest_s = latest_s or now_s
        if token.kind is not kind or now_s >= token.expires_s + LEEWAY_S or latest_s < token.issued_s - LEEWAY_S:
            raise unauthenticated()
        return token

    def keys_current(self) -> bool:
        """Check the key file; False while it cannot be read, so that a rotation may be missed."""
        self._look(utc_now().timestamp())
        return self._keys.fault is None

    def _look(self, now_s: float) -> None:
        """Check for a rotation; if the ring has changed, every token is verified again."""
        self._looked_s = now_s
        if self._keys.look():
            self._verified.clear()

    def _verify(self, text: str, now_s: float) -> Token:
        if len(text) > TOKEN_BYTES_MAX or not text.isascii():
            raise unauthenticated()
        try:
            token = self._decode(text, now_s)
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError, RecursionError) as error:
            raise unauthenticated() from error
        while len(self._verified) >= VERIFIED_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[text] = token
        return token

    def _key(self, kid: object, now_s: float) -> bytes:
        """The key with this name. An unknown key may be from a rotation just now, so the file is checked again."""
        key = self._keys.ring.find(kid, now_s=now_s)
        if key is None:
            self._look(now_s)
            key = self._keys.ring.find(kid, now_s=now_s)
        if key is None:
            raise unauthenticated()
        return key.secret.encode()

    def _decode(self, text: str, now_s: float) -> Token:
        decoded = jwt.decode_complete(
            text,
            self._key(jwt.get_unverified_header(text).get("kid"), now_s),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            # `read` checks the times at every call, by the clock that is passed in.
            options={"require": list(REQUIRED_CLAIMS), "verify_exp": False, "verify_iat": False},
        )
        claims = msgspec.convert(decoded["payload"], _Claims)
        return Token(
            kind=TokenKind(decoded["header"].get("typ")),
            id=claims.jti,
            account_id=claims.sub,
            session_id=claims.sid,
            role=claims.role,
            epoch=claims.epoch,
            issued_s=claims.iat,
            expires_s=claims.exp,
        )


def fingerprint(text: str) -> bytes:
    """The stored form of a refresh token: it identifies the token, but cannot be used as one."""
    return hashlib.sha256(text.encode()).digest()


def utc_now() -> datetime:
    """The clock by which tokens are issued and read."""
    return datetime.now(tz=UTC)


def unauthenticated() -> Unauthenticated:
    """The refusal of every token that cannot be used."""
    return Unauthenticated("A valid access token is needed.")
