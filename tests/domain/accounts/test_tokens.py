"""A token is accepted only with this deployment's signature, for its purpose, and until it expires."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import pytest

from domain.accounts.accounts import Account, AccountStatus, Role
from domain.accounts.signing_keys import Key, KeyRing, Keys
from domain.accounts.tokens import AUDIENCE, ISSUER, VERIFIED_MAX, TokenKind, Tokens
from domain.kernel.refusals import Unauthenticated

SECRET = "0123456789abcdef0123456789abcdef"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIFETIMES = {TokenKind.ACCESS: 1800, TokenKind.REFRESH: 604_800}
SESSION = uuid4()
ACCOUNT = Account(
    id=uuid4(),
    email="somebody@example.org",
    password_hash="",
    role=Role.ATTENDEE,
    status=AccountStatus.ACTIVE,
    token_epoch=3,
    created_at=NOW,
)


def _tokens(*secrets):
    return Tokens(Keys(KeyRing([Key(secret) for secret in secrets or (SECRET,)])), LIFETIMES)


def _issued(tokens, kind=TokenKind.ACCESS):
    return tokens.issue(kind, ACCOUNT, session_id=SESSION, now=NOW)


def _forged(*, key=SECRET, algorithm="HS256", headers=None, **claims):
    """A token like ours, but for what is said here; None leaves a claim out."""
    ours = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(ACCOUNT.id),
        "sid": str(SESSION),
        "jti": str(uuid4()),
        "role": "attendee",
        "epoch": 3,
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 1800,
    }
    given = {name: value for name, value in (ours | claims).items() if value is not None}
    kid = Key(SECRET).kid
    return jwt.encode(given, key, algorithm=algorithm, headers={"kid": kid, "typ": "at+jwt"} | (headers or {}))


def test_what_was_issued_is_read():
    tokens = _tokens()

    token = tokens.read(_issued(tokens), TokenKind.ACCESS, now_s=NOW.timestamp())

    assert (token.account_id, token.session_id, token.role, token.epoch) == (ACCOUNT.id, SESSION, Role.ATTENDEE, 3)


def test_a_token_like_ours_is_read():
    assert _tokens().read(_forged(), TokenKind.ACCESS, now_s=NOW.timestamp()).account_id == ACCOUNT.id


FORGERIES = {
    "another key": _forged(key="x" * 32),
    "another algorithm": _forged(key="x" * 64, algorithm="HS512"),
    "no signature": _forged(key=None, algorithm="none"),
    "another type": _forged(headers={"typ": "JWT"}),
    "an unknown key name": _forged(headers={"kid": "nobody's"}),
    "an empty key name": _forged(headers={"kid": ""}),
    "another issuer": _forged(iss="somebody"),
    "another audience": _forged(aud="somebody"),
    "no audience": _forged(aud=None),
    "no subject": _forged(sub=None),
    "a subject that is no id": _forged(sub="admin"),
    "no session": _forged(sid=None),
    "no id": _forged(jti=None),
    "no expiry": _forged(exp=None),
    "no time of issue": _forged(iat=None),
    "no epoch": _forged(epoch=None),
    "an epoch of another type": _forged(epoch="3"),
    "an unknown role": _forged(role="root"),
    "too long": _forged(more="x" * 4096),
    "not ascii": "ä.ö.ü",
    "no token": "abc",
    "empty": "",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_token_is_refused_like_any_other(forgery):
    """S2: algorithm, kind and every claim are pinned, and one refusal tells nothing of which."""
    with pytest.raises(Unauthenticated) as refused:
        _tokens().read(FORGERIES[forgery], TokenKind.ACCESS, now_s=NOW.timestamp())

    assert refused.value.detail == "A valid access token is needed."


def test_a_changed_payload_is_refused():
    tokens = _tokens()
    header, payload, signature = _issued(tokens).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "==")) | {"role": "admin"}
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    with pytest.raises(Unauthenticated):
        tokens.read(f"{header}.{changed}.{signature}", TokenKind.ACCESS, now_s=NOW.timestamp())


def test_neither_kind_passes_for_the_other():
    """S2: a refresh token is no access token."""
    tokens = _tokens()

    for kind, other in ((TokenKind.ACCESS, TokenKind.REFRESH), (TokenKind.REFRESH, TokenKind.ACCESS)):
        with pytest.raises(Unauthenticated):
            tokens.read(_issued(tokens, kind), other, now_s=NOW.timestamp())


def test_expiry_is_asked_each_time_with_ten_seconds_for_the_clocks():
    """S2: however often the signature was verified before."""
    tokens = _tokens()
    text = _issued(tokens)

    tokens.read(text, TokenKind.ACCESS, now_s=(NOW + timedelta(seconds=1809)).timestamp())
    tokens.read(text, TokenKind.ACCESS, now_s=(NOW - timedelta(seconds=10)).timestamp())

    for moment in (NOW + timedelta(seconds=1810), NOW - timedelta(seconds=11)):
        with pytest.raises(Unauthenticated):
            tokens.read(text, TokenKind.ACCESS, now_s=moment.timestamp())


def test_an_older_key_of_the_ring_still_verifies_and_one_that_is_not_on_it_does_not():
    """S3: sign with the newest, accept the active."""
    old, new = "o" * 32, "n" * 32
    text = _issued(_tokens(old))

    assert _tokens(new, old).read(text, TokenKind.ACCESS, now_s=NOW.timestamp())
    with pytest.raises(Unauthenticated):
        _tokens(new).read(text, TokenKind.ACCESS, now_s=NOW.timestamp())


def test_the_verdicts_a_process_remembers_are_bounded():
    tokens = _tokens()
    tokens._verified = dict.fromkeys(map(str, range(VERIFIED_MAX)), None)

    tokens.read(_issued(tokens), TokenKind.ACCESS, now_s=NOW.timestamp())

    assert len(tokens._verified) == VERIFIED_MAX
