"""Every setting is documented in docs/operate.md, and a wrong value is refused by the setting's name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from domain.platform.settings import Limit, Settings, SettingsRefused, load_settings
from tests.processes import ROOT

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

NOTHING = "\N{EN DASH}"

ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def test_every_setting_has_its_line_in_the_operators_page():
    documented = {name: meaning for name, _, meaning in ROW.findall((ROOT / "docs" / "operate.md").read_text())}

    assert documented == {name.upper(): field.description for name, field in Settings.model_fields.items()}


def test_the_operators_page_tells_the_defaults_there_are():
    told = {name: default.strip("`") for name, default, _ in ROW.findall((ROOT / "docs" / "operate.md").read_text())}

    assert told == {name.upper(): _shown(field) for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name.startswith("limit_")])
def test_a_limit_is_set_as_the_operators_page_writes_it(monkeypatch, name):
    monkeypatch.setenv(name.upper(), "7/min")

    assert getattr(load_settings(), name) == Limit(7, 60)


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name.startswith("limit_")])
def test_a_limit_that_is_none_is_refused_by_its_name(monkeypatch, name):
    monkeypatch.setenv(name.upper(), "30 per minute")

    with pytest.raises(SettingsRefused) as refused:
        load_settings()

    assert str(refused.value).startswith(f"{name.upper()}: ")


@pytest.mark.parametrize(
    "secret",
    ["e698218fbf1d9d46b06a6c1aa41b3124", "changeme", "CHANGEME", "0123456789abcdef0123456789abcde"],
    ids=["published", "changeme", "in capitals", "one byte short"],
)
def test_a_secret_that_is_none_is_refused_and_not_shown(monkeypatch, secret):
    """S1: the message names the setting and shows no secret."""
    monkeypatch.setenv("JWT_SECRET", secret)

    with pytest.raises(SettingsRefused) as refused:
        load_settings()

    assert str(refused.value).startswith("JWT_SECRET: ")
    assert secret not in str(refused.value)


def test_all_faults_are_told_at_once(monkeypatch):
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("LOG_FORMAT", "xml")
    monkeypatch.setenv("JWT_SECRET", "short")

    with pytest.raises(SettingsRefused) as refused:
        load_settings()

    assert sorted(line.partition(":")[0] for line in str(refused.value).splitlines()) == [
        "JWT_SECRET",
        "LOG_FORMAT",
        "PORT",
    ]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("CORS_ORIGINS", "https://a.example,*", "CORS_ORIGINS: entry 2: expected origins like"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,nowhere", "TRUSTED_PROXIES: entry 2: "),
        ("FAILPOINTS", '{"nowhere": 1}', "FAILPOINTS: "),
    ],
)
def test_a_wrong_entry_is_refused_by_the_name_of_its_setting(monkeypatch, name, value, line):
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsRefused) as refused:
        load_settings()

    assert str(refused.value).startswith(line)
    assert f"{name}_" not in str(refused.value)


def test_one_server_of_ones_own_is_not_enough(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://onsale@db/onsale")

    with pytest.raises(SettingsRefused, match="REDIS_URL and QUEUE_URL"):
        load_settings()


def test_failpoints_cannot_be_armed_with_servers_elsewhere(monkeypatch):
    monkeypatch.setenv("CHAOS", "on")
    monkeypatch.setenv("FAILPOINTS", '{"reserved": 0.5}')
    monkeypatch.setenv("JWT_SECRET", "a secret of thirty-two bytes or more")
    for name in ("DATABASE_URL", "REDIS_URL", "QUEUE_URL"):
        monkeypatch.setenv(name, "redis://elsewhere.example/0")

    with pytest.raises(SettingsRefused):
        load_settings()


def test_failpoints_cannot_be_armed_without_chaos(monkeypatch):
    monkeypatch.setenv("FAILPOINTS", '{"reserved": 0.5}')

    with pytest.raises(SettingsRefused):
        load_settings()


def test_holds_cannot_be_shortened_without_chaos(monkeypatch):
    monkeypatch.setenv("TEST_HOLD_MS", "500")

    with pytest.raises(SettingsRefused, match="TEST_HOLD_MS"):
        load_settings()


def test_what_should_be_json_and_is_not_is_refused_by_its_name(monkeypatch):
    monkeypatch.setenv("FAILPOINTS", "reserved")

    with pytest.raises(SettingsRefused) as refused:
        load_settings()

    assert str(refused.value) == "FAILPOINTS: is not JSON"


def _shown(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return str(default) if default else NOTHING


@pytest.mark.parametrize("name", ["REDIS_URL", "QUEUE_URL"])
@pytest.mark.parametrize("option", ["protocol=3", "decode_responses=true", "encoding=latin-1"])
def test_a_url_that_changes_how_answers_are_read_is_refused_by_name(monkeypatch, name, option):
    monkeypatch.setenv(name, f"redis://127.0.0.1/0?{option}")

    with pytest.raises(SettingsRefused, match=f"{name}: .*{option.partition('=')[0]}"):
        load_settings()


def test_a_url_may_name_the_protocol_that_is_spoken(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1/0?protocol=2&socket_keepalive=yes")

    with pytest.raises(SettingsRefused, match=r"^settings: set DATABASE_URL"):
        load_settings()
