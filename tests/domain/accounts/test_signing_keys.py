"""The key ring follows its file, and never returns to a retired key."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import pytest
from pydantic import SecretStr

from domain.accounts.accounts import Account, AccountStatus, Role
from domain.accounts.signing_keys import KEYS_MAX, Key, Keys
from domain.accounts.tokens import LEEWAY_S, TokenKind, Tokens
from domain.kernel.refusals import Unauthenticated
from domain.platform.settings import Settings, SettingsRefused
from ops.commands.rotate_keys import RotationRefused, rotate
from ops.embedded.private_files import rewrite

FIRST_SECRET = "the secret a deployment began with, long enough"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
REFRESH_S = 604_800
LIFETIMES = {TokenKind.ACCESS: 1800, TokenKind.REFRESH: REFRESH_S}
ACCOUNT = Account(
    id=uuid4(),
    email="somebody@example.org",
    password_hash="",
    role=Role.ATTENDEE,
    status=AccountStatus.ACTIVE,
    token_epoch=0,
    created_at=NOW,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def _process(path, secret=FIRST_SECRET):
    """The tokens of one process of a deployment."""
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"),
        redis_url=SecretStr("redis://127.0.0.1:1/0"),
        queue_url=SecretStr("redis://127.0.0.1:1/1"),
        jwt_secret=secret and SecretStr(secret),
        jwt_keys_file=path,
    )
    return Tokens(Keys.of(settings), LIFETIMES)


def _rotate(path, *, at=NOW, drop_old=False):
    return rotate(path, first_secret=FIRST_SECRET, lifetime_s=REFRESH_S, now_s=int(at.timestamp()), drop_old=drop_old)


def _issue(tokens, at=NOW, kind=TokenKind.ACCESS):
    return tokens.issue(kind, ACCOUNT, session_id=uuid4(), now=at)


def _kid(text):
    return jwt.get_unverified_header(text)["kid"]


def test_after_a_rotation_the_new_key_signs_and_what_was_signed_before_lives_until_it_expires(path):
    """S3: nobody is logged out by a rotation."""
    here = _process(path)
    before, refresh_before = _issue(here), _issue(here, kind=TokenKind.REFRESH)

    ring = _rotate(path)
    after = _issue(here)

    assert _kid(before) == Key(FIRST_SECRET).kid
    assert _kid(after) == ring[0].kid != Key(FIRST_SECRET).kid
    assert here.read(after, TokenKind.ACCESS, now_s=NOW.timestamp())
    assert here.read(before, TokenKind.ACCESS, now_s=(NOW + timedelta(seconds=1799)).timestamp())
    last = NOW + timedelta(seconds=REFRESH_S + LEEWAY_S - 1)
    assert here.read(refresh_before, TokenKind.REFRESH, now_s=last.timestamp())
    with pytest.raises(Unauthenticated):
        here.read(before, TokenKind.ACCESS, now_s=(NOW + timedelta(seconds=1810)).timestamp())


def test_another_process_accepts_the_new_key_at_once_and_signs_with_it_too(path):
    """S3: a token of the new key may arrive before a second has passed."""
    here, there = _process(path), _process(path)
    there.read(_issue(here), TokenKind.ACCESS, now_s=NOW.timestamp())

    _rotate(path)
    text = _issue(here)

    assert there.read(text, TokenKind.ACCESS, now_s=NOW.timestamp())
    assert _kid(_issue(there)) == _kid(text)


def test_a_retired_key_verifies_nothing(path):
    """S3: retire."""
    _rotate(path)
    keys = _process(path)._keys
    first, retires_s = Key(FIRST_SECRET).kid, keys.ring.keys[1].retires_s

    assert retires_s == NOW_S + REFRESH_S + LEEWAY_S
    assert keys.ring.find(first, now_s=retires_s - 1)
    assert keys.ring.find(first, now_s=retires_s) is None


def test_after_a_leak_every_old_token_is_dead_within_a_second_remembered_or_not(path):
    """S3: `--drop-old` reaches what a process has verified already."""
    here = _process(path)
    text = _issue(here)
    here.read(text, TokenKind.ACCESS, now_s=NOW.timestamp())

    ring = _rotate(path, drop_old=True)

    assert len(ring) == 1
    with pytest.raises(Unauthenticated):
        here.read(text, TokenKind.ACCESS, now_s=(NOW + timedelta(seconds=1)).timestamp())
    assert here.read(_issue(here), TokenKind.ACCESS, now_s=NOW.timestamp())


def test_a_key_leaves_the_ring_when_all_it_signed_has_expired(path):
    _rotate(path)
    second = _rotate(path, at=NOW + timedelta(days=1))
    later = _rotate(path, at=NOW + timedelta(days=9))

    assert [len(second), len(later)] == [3, 2]
    assert Key(FIRST_SECRET).kid not in {key.kid for key in later}


def test_a_ring_does_not_grow_without_end(path):
    rings = [_rotate(path) for _ in range(KEYS_MAX - 1)]

    with pytest.raises(RotationRefused, match="--drop-old"):
        _rotate(path)

    assert len(rings[-1]) == KEYS_MAX
    assert json.loads(path.read_text())["keys"][0]["secret"] == rings[-1][0].secret


def test_a_file_that_vanishes_or_breaks_brings_no_old_key_back(path):
    here = _process(path)
    old = _issue(here)
    _rotate(path, drop_old=True)
    new = _issue(here)

    path.write_text("{")
    assert here.read(new, TokenKind.ACCESS, now_s=(NOW + timedelta(seconds=2)).timestamp())
    path.unlink()
    assert here.read(new, TokenKind.ACCESS, now_s=(NOW + timedelta(seconds=4)).timestamp())

    with pytest.raises(Unauthenticated):
        here.read(old, TokenKind.ACCESS, now_s=(NOW + timedelta(seconds=6)).timestamp())


def test_a_file_that_was_unreadable_is_read_when_its_rights_are_mended(path):
    """Chmod and chown change neither its content nor its time of modification."""
    here = _process(path)
    old = _issue(here)
    draft = path.with_suffix(".new")
    _rotate(draft, drop_old=True)
    os.chmod(draft, 0o644)  # noqa: PTH101  (as an operator would)
    draft.rename(path)
    unreadable = here.read(old, TokenKind.ACCESS, now_s=(NOW + timedelta(seconds=2)).timestamp())
    told = here.keys_current()

    os.chmod(path, 0o600)  # noqa: PTH101  (as an operator would)

    assert (unreadable.account_id, told) == (ACCOUNT.id, False)
    assert here.keys_current()
    with pytest.raises(Unauthenticated):
        here.read(old, TokenKind.ACCESS, now_s=(NOW + timedelta(seconds=4)).timestamp())


def test_keys_are_not_current_while_their_file_is_broken_or_gone(path):
    _rotate(path)
    here = _process(path)
    content = path.read_bytes()
    current = [here.keys_current()]

    path.write_text("{")
    current.append(here.keys_current())
    path.write_bytes(content)
    current.append(here.keys_current())
    path.rename(path.with_suffix(".away"))
    current.append(here.keys_current())
    path.with_suffix(".away").rename(path)
    current.append(here.keys_current())

    assert current == [True, False, True, False, True]


def test_keys_without_a_file_yet_are_current(path):
    assert _process(path).keys_current()


def test_a_file_whose_folder_cannot_be_entered_is_not_taken_for_none(path):
    """Taken for none, JWT_SECRET would sign again after it was dropped."""
    not_a_folder = path.with_name("file")
    not_a_folder.touch()

    with pytest.raises(SettingsRefused, match=r"JWT_KEYS_FILE: .* cannot be read"):
        _process(not_a_folder / "keys.json")


def test_the_file_is_its_owners_alone(path):
    _rotate(path)

    assert path.stat().st_mode & 0o777 == 0o600


BROKEN_FILES = {
    "empty": "",
    "no object": "[]",
    "no keys": '{"keys": []}',
    "a short secret": '{"keys": [{"secret": "short-canary"}]}',
    "a published secret": '{"keys": [{"secret": "e698218fbf1d9d46b06a6c1aa41b3124"}]}',
    "an unknown field": '{"keys": [{"secret": "0123456789abcdef0123456789abcdef-canary", "alg": "none"}]}',
    "too many": json.dumps({"keys": [{"secret": f"{n:032}"} for n in range(KEYS_MAX + 1)]}),
}


@pytest.mark.parametrize("what", BROKEN_FILES)
def test_a_file_that_is_no_ring_is_refused_at_start_by_the_settings_name(path, what):
    """S1: the message names the setting and shows no secret."""
    rewrite(path, {})
    path.write_text(BROKEN_FILES[what])

    with pytest.raises(SettingsRefused) as refused:
        _process(path)

    assert str(refused.value).startswith("JWT_KEYS_FILE: ")
    assert "canary" not in str(refused.value)


def test_a_file_that_everybody_may_read_is_refused_at_start(path):
    """S1: so is a secret that is none."""
    _rotate(path)
    os.chmod(path, 0o644)  # noqa: PTH101  (as an operator would)

    with pytest.raises(SettingsRefused, match="chmod 600"):
        _process(path)


def test_without_a_file_and_a_secret_nothing_starts(path):
    with pytest.raises(SettingsRefused, match="rotate-keys"):
        _process(path, secret=None)
