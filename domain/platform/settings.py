"""Settings: read once from the environment, and validated at start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from domain.platform.failpoints import Failpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

PUBLIC_SECRETS = frozenset({"e698218fbf1d9d46b06a6c1aa41b3124", "changeme", "change-me", "secret", "password"})
"""Secrets that are published in tutorials and repositories; everybody who reads those could sign tokens."""

JWT_SECRET_BYTES_MIN = 32
"""RFC 7518, 3.2: an HMAC key is at least as long as its hash."""


REFRESH_TOKEN_SECONDS_MAX = 7_776_000
"""Ninety days: the longest lifetime of an unused session, and the longest acceptance of an old signing key."""

_LIMIT_PATTERN = re.compile(r"([1-9]\d{0,5})/(min|[1-9]\d{0,4})", re.ASCII)


MINUTE_S = 60


@dataclass(frozen=True)
class Limit:
    """A rate limit: `count` requests in `period_s` seconds."""

    count: int
    period_s: int

    @classmethod
    def parse(cls, text: object) -> Limit:
        """Read `<count>/<seconds>` or `<count>/min`; raises ValueError with the expected format."""
        match = _LIMIT_PATTERN.fullmatch(str(text))
        if not match:
            message = "expected <count>/<seconds> or <count>/min, for example 30/min"
            raise ValueError(message)
        return cls(int(match[1]), MINUTE_S if match[2] == "min" else int(match[2]))

    def __str__(self) -> str:
        """The limit in the format of its setting."""
        return f"{self.count}/{'min' if self.period_s == MINUTE_S else self.period_s}"


def broken_secret_rule(secret: str) -> str | None:
    """The rule that a secret breaks, as the end of a sentence without the secret; None if it breaks none."""
    make = "python -c 'import secrets; print(secrets.token_hex(32))'"
    if secret.lower() in PUBLIC_SECRETS:
        return f"is a secret that was published; make one: {make}"
    if len(secret.encode()) < JWT_SECRET_BYTES_MIN:
        return f"needs at least {JWT_SECRET_BYTES_MIN} bytes; {make}"
    return None


def _words(text: object) -> object:
    """Split at commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip()) if isinstance(text, str) else text


def _is_origin(text: str) -> str:
    if not ORIGIN.fullmatch(text):
        message = "expected origins like https://shop.example.org, without a path, and never *"
        raise ValueError(message)
    return text


ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?", re.ASCII)
"""An origin as browsers send it. `*` is refused, as it would let any web page act for the users who visit it."""


def _is_host(text: str) -> str:
    if not HOST.fullmatch(text):
        message = "expected names or addresses like shop.example.org, without a scheme, a port or a path"
        raise ValueError(message)
    return text


HOST = re.compile(r"[a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\]", re.ASCII | re.IGNORECASE)
"""What `Host` has of a request, without the port. With anything else in the list, no request would match it."""

Hosts = Annotated[tuple[Annotated[str, AfterValidator(_is_host)], ...], NoDecode, BeforeValidator(_words)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_is_origin)], ...], NoDecode, BeforeValidator(_words)]
PublicUrl = Annotated[str, AfterValidator(_is_origin)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_words)]

RateLimit = Annotated[Limit, NoDecode, BeforeValidator(Limit.parse)]


def _limit(text: str, description: str) -> Limit:
    limit: Limit = Field(default=Limit.parse(text), description=description)
    return limit


RESP = "2"
"""The version of the Redis protocol in use. In version 3, hashes are not returned as lists."""

DECODING = frozenset({"decode_responses", "encoding", "encoding_errors"})
"""URL options of the client that decode answers to text; ids and packed pages must stay bytes."""


class SettingsRefused(Exception):
    """The environment is no valid configuration; `str()` names each setting and the value to set."""


class Settings(BaseSettings):
    """All settings with their defaults and descriptions. A test compares docs/operate.md with them."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port the API listens on.")
    data_dir: Path = Field(Path(".data"), description="Where the embedded servers keep their data and secrets.")
    database_url: SecretStr | None = Field(
        None, description="PostgreSQL, `postgresql://user:password@host/database`. Unset: the embedded one."
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey of the inventory (AOF on, noeviction). Unset: the embedded one."
    )
    queue_url: SecretStr | None = Field(
        None, description="Redis or Valkey of the arq queue. Unset: the embedded one, a database of its own."
    )
    jwt_secret: SecretStr | None = Field(
        None, description="Signs the tokens, at least 32 bytes. Unset with the embedded stack: made once."
    )
    jwt_keys_file: Path | None = Field(
        None, description="File of keys that `onsale rotate-keys` writes; once there, it counts instead of JWT_SECRET."
    )
    access_token_seconds: int = Field(1800, ge=60, le=86_400, description="Lifetime of an access token.")
    refresh_token_seconds: int = Field(
        604_800, ge=600, le=REFRESH_TOKEN_SECONDS_MAX, description="Lifetime of a refresh token."
    )
    organizer_signup: Literal["open", "approval", "closed"] = Field(
        "open",
        description="Whether accounts become organizers by themselves, or, with `approval`, by an admin's hand.",
    )
    refresh_grace_seconds: int = Field(
        10, ge=0, le=60, description="For how long a used refresh token gets the same answer again; 0: never."
    )
    api_processes: int = Field(1, ge=1, le=64, description="API processes `onsale up` starts.")
    worker_processes: int = Field(1, ge=1, le=64, description="Worker processes `onsale up` starts.")
    shutdown_delay_seconds: int = Field(
        5,
        ge=0,
        le=60,
        description="How long an API process goes on serving after SIGTERM while it says that it is not ready.",
    )
    log_format: Literal["console", "json"] = Field("console", description="`json` for production.")
    request_log: Literal["on", "off"] = Field("off", description="`on` logs a line for every request that is answered.")
    rate_limits: Literal["on", "off"] = Field("on", description="`off` for load tests only.")
    limit_login: RateLimit = _limit(
        "5/min", "Logins per client address and e-mail; changes that ask for the password, per account."
    )
    limit_login_address: RateLimit = _limit(
        "60/min", "Logins, refreshes and changes that ask for the password, per client address."
    )
    limit_refresh: RateLimit = _limit("5/min", "Token refreshes per session.")
    limit_signup: RateLimit = _limit("5/min", "Signups per client address.")
    limit_booking_create: RateLimit = _limit("30/min", "`POST /bookings` per account.")
    limit_booking_cancel: RateLimit = _limit("30/min", "`DELETE /bookings/…` per account.")
    limit_booking_change: RateLimit = _limit("30/min", "Changes, extensions and payments of bookings, per account.")
    limit_event_create: RateLimit = _limit("5/min", "`POST /events` per account.")
    limit_event_delete: RateLimit = _limit("5/min", "`DELETE /events/…` per account.")
    limit_event_update: RateLimit = _limit("10/min", "`PATCH /events/…` per account.")
    limit_catalogue_update: RateLimit = _limit("60/min", "Changes of ticket types, pools and promo codes, per account.")
    limit_promo_code: RateLimit = _limit(
        "10/min", "Wrong promo codes per account and client address, or per client address without an account."
    )
    limit_payment_confirm: RateLimit = _limit("6000/min", "`POST /bookings/…/confirm` and `…/refund-paid` per account.")
    limit_webhook_refused: RateLimit = _limit(
        "60/min", "Messages of a payment provider with a wrong signature, per client address."
    )
    limit_admin_write: RateLimit = _limit("10/min", "Admin actions that change something, per account.")
    limit_admin_read: RateLimit = _limit("60/min", "Admin actions that read, per account.")
    limit_default: RateLimit = _limit("300/min", "Everything else, per account or address.")
    trusted_proxies: Networks = Field(
        default=(), description="Networks of proxies whose `X-Forwarded-For` is believed, with commas between."
    )
    cors_origins: Origins = Field(
        default=(),
        description="Origins whose pages may call the API, exactly as browsers send them, with commas between.",
    )
    allowed_hosts: Hosts = Field(
        default=(), description="Names the API answers to, with commas between; any, when unset."
    )
    public_url: PublicUrl | None = Field(
        None,
        description="Where buyers reach the pages, for links that leave them, such as `https://shop.example.org`. "
        "Unset: as the request says.",
    )
    stripe_secret_key: SecretStr | None = Field(
        None, description="Secret key of the Stripe account that takes payments. Unset: no event is paid by Stripe."
    )
    stripe_webhook_secret: SecretStr | None = Field(
        None, description="Signing secret of the webhook `/api/v1/payments/stripe/webhook`. Set it with the key."
    )
    stripe_api_base: str = Field(
        "https://api.stripe.com",
        pattern=r"^https?://\S+$",
        description="Address of Stripe's API; others for tests.",
    )
    test_payments: Literal["on", "off"] = Field(
        "off",
        description="`on` lets events be paid on a page that takes no money, for demonstrations. It is refused in "
        "production, which is: with servers that are not reached by a socket of this machine.",
    )
    durability: Literal["redis", "postgres"] = Field(
        "redis",
        description="What an accepted booking survives: every process and power loss, or the loss of Redis too.",
    )
    redis_sync: Literal["always", "any"] = Field(
        "always",
        description="`any` accepts a Redis that syncs its append-only file less often: a power cut may then lose "
        "bookings.",
    )
    audit_log_days: int = Field(
        365, ge=1, le=3650, description="Days an entry of the audit log is kept; PCI DSS asks for a year."
    )
    repairs_days: int = Field(
        90, ge=1, le=3650, description="Days a recorded repair of reconciliation is kept: a season of on-sales."
    )
    heartbeat_file: Path | None = Field(
        None, description="File that a worker touches every second while it serves, for health checks. Unset: none."
    )
    event_close_after_days: int = Field(
        7,
        ge=1,
        le=3650,
        description="Days after its end that an event is closed: its counters leave Redis, PostgreSQL answers alone.",
    )
    chaos: Literal["on", "off"] = Field(
        "off", description="`on` lets the chaos runner, tests and load tests set the three below."
    )
    test_hold_ms: int | None = Field(
        None, ge=100, le=60_000, description="Milliseconds that every hold lasts, whatever its event says."
    )
    failpoints: dict[Failpoint, float] = Field(
        default_factory=dict, description="JSON: points where a process kills itself, with their probabilities."
    )
    failpoint_hits: Path | None = Field(
        None, description="File that each failpoint adds a line to; none kills without it."
    )
    unpersisted_max: int = Field(
        20_000, ge=100, le=1_000_000, description="Accepted but unpersisted bookings a partition may hold before 503."
    )

    @field_validator("jwt_secret")
    @classmethod
    def _secret_is_a_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is None:
            return None
        message = broken_secret_rule(secret.get_secret_value())
        if message:
            raise ValueError(message)
        return secret

    @field_validator("redis_url", "queue_url")
    @classmethod
    def _answers_are_read_as_they_are(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        query = parse_qs(urlsplit(url.get_secret_value()).query)
        if query.get("protocol", [RESP]) != [RESP]:
            message = f"protocol is {RESP} here: leave it out of the URL"
            raise ValueError(message)
        if found := sorted(DECODING & query.keys()):
            message = f"{', '.join(found)} would change how answers are read: leave it out of the URL"
            raise ValueError(message)
        return url

    @model_validator(mode="after")
    def _servers_go_together(self) -> Settings:
        urls = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, "QUEUE_URL": self.queue_url}
        missing = [name for name, url in urls.items() if url is None]
        if missing and len(missing) < len(urls):
            message = f"set {' and '.join(missing)} too, or none of {', '.join(urls)} for the embedded servers"
            raise ValueError(message)
        if not missing and self.jwt_secret is None and self.jwt_keys_file is None:
            message = "set JWT_SECRET: only the embedded stack makes its own"
            raise ValueError(message)
        keys = {"JWT_SECRET": self.jwt_secret, "JWT_KEYS_FILE": self.jwt_keys_file}
        given = " and ".join(name for name, value in keys.items() if value is not None)
        if missing and given:
            message = f"unset {given}: the embedded stack keeps keys of its own in DATA_DIR; or set {', '.join(urls)}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _sabotage_stays_at_home(self) -> Settings:
        if self.chaos == "off" and self.failpoints:
            message = "FAILPOINTS kills processes on purpose: unset it (or CHAOS=on to test)"
            raise ValueError(message)
        if self.chaos == "off" and self.test_hold_ms is not None:
            message = "TEST_HOLD_MS ends holds before buyers can pay: unset it (or CHAOS=on to test)"
            raise ValueError(message)
        if self.chaos == "on" and not all(_is_local(url) for url in (self.database_url, self.redis_url)):
            message = "CHAOS=on is refused on servers that are not reached by a socket of this machine: unset it"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _stripe_is_whole(self) -> Settings:
        if (self.stripe_secret_key is None) != (self.stripe_webhook_secret is None):
            message = "set STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET, or neither"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _play_money_stays_at_home(self) -> Settings:
        if self.test_payments == "on" and not all(_is_local(url) for url in (self.database_url, self.redis_url)):
            message = "TEST_PAYMENTS=on takes no money: it is refused on servers that are not reached by a socket"
            raise ValueError(message)
        return self

    @property
    def embedded(self) -> bool:
        """Whether this process belongs to a stack that starts its own servers."""
        return self.database_url is None


def _is_local(url: SecretStr | None) -> bool:
    return url is None or any(mark in url.get_secret_value() for mark in ("host=/", "unix://"))


def load_settings(known: Mapping[str, str] | None = None) -> Settings:
    """Read the environment; values in `known` replace those of the environment.

    Raises:
        SettingsRefused: with one line per fault; each names its setting and shows no value.
    """
    values: dict[str, Any] = {name.lower(): value for name, value in (known or {}).items()}
    try:
        return Settings(**values)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        lines = [_line(fault["loc"], fault["msg"]) for fault in faults]
        raise SettingsRefused("\n".join(dict.fromkeys(lines))) from None
    except SettingsError as error:
        # Raised for the first value that is not valid JSON; the error names the field and shows no value.
        name = _QUOTED.search(str(error))
        raise SettingsRefused(_line((name[1] if name else "",), "is not JSON")) from None


_QUOTED = re.compile(r'"(\w+)"', re.ASCII)


def _line(location: tuple[int | str, ...], message: str) -> str:
    """Format a fault: the setting, the number of the list entry (counted from one), and the message."""
    setting = str(location[0]).upper() if location and location[0] else "settings"
    entries = "".join(f"entry {part + 1}: " for part in location[1:] if isinstance(part, int))
    return f"{setting}: {entries}{message.removeprefix('Value error, ')}"
