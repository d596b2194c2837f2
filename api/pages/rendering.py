"""Templates of the pages, rendered with Jinja2. Every value is escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from api.pages.assets import address
from api.pages.sale_states import left_of_type, sale_state
from api.pages.static import CHECKED, Static
from domain.sales.zones import DEFAULT_ZONE, local_time

if TYPE_CHECKING:
    from collections.abc import Mapping

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""No script and no style of a page is inline. A data block such as JSON-LD is no script and needs no permission."""


HUES = 6
"""Colours of events in the stylesheet."""


def rendered(name: str, **values: object) -> Static:
    """A page: the template of this name with these values."""
    content = _templates().get_template(f"{name}.html").render(values)
    return Static.of(content.encode(), "text/html", kept=CHECKED, policy=POLICY)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {"asset": address, "icon": _icon, "sale_state": sale_state, "here": "", "width": ""}
    environment.filters |= {"moment": _moment, "day": _day, "weekday": _weekday, "hue": _hue}
    environment.filters |= {"money": _money, "left_of_type": left_of_type}
    return environment


@cache
def _icon(name: str) -> Markup:
    """A drawing, which is no part of the text."""
    svg = files("api.pages").joinpath("assets", "icons", f"{name}.svg").read_text(encoding="utf-8")
    return Markup(svg.strip().replace("<svg ", '<svg aria-hidden="true" ', 1))  # noqa: S704  (a file of this package)


def zone_of(event: Mapping[str, Any]) -> str:
    """The time zone of an event's venue."""
    zone: str = event.get("time_zone") or DEFAULT_ZONE
    return zone


def instant(text: str) -> datetime:
    """A time of an answer of the API."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _local(text: str, event: Mapping[str, Any]) -> datetime:
    return local_time(instant(text), zone_of(event))


def _moment(text: str, event: Mapping[str, Any], length: str = "long") -> Markup:
    """A time at the venue. A script shows it again in the browser's language; without a zone, in the browser's time.

    The script formats `data-local`: browsers have rules of time zones of their own, which may be older.
    """
    local, zone = _local(text, event), zone_of(event)
    day = f"{local:%A}, {local.day} {local:%B %Y}" if length == "long" else f"{local:%a} {local.day} {local:%b}"
    shown = f"{day}, {local:%H:%M}{' UTC' if zone == DEFAULT_ZONE else ''}"
    named, at = ("", "") if zone == DEFAULT_ZONE else (zone, local.isoformat())
    element = Markup('<time datetime="{}" data-zone="{}" data-local="{}" data-length="{}">{}</time>')
    return element.format(text, named, at, length, shown)


def amount(minor: int, decimals: int | None) -> str:
    """An amount of minor units as a decimal number."""
    whole, rest = divmod(minor, 10 ** (decimals or 0))
    return f"{whole}.{rest:0{decimals}}" if decimals else str(whole)


def _money(minor: int, offered: Mapping[str, Any]) -> Markup:
    """A price. A script shows it again as the browser's language has it."""
    currency, decimals = offered["currency"], offered["currency_decimals"]
    if not minor or not currency:
        return Markup("Free")
    return Markup('<data class="money" value="{}" data-currency="{}" data-decimals="{}">{} {}</data>').format(
        minor, currency, decimals, amount(minor, decimals), currency
    )


def _hue(event_id: str) -> str:
    """The class of an event's colour."""
    return f"hue-{int(event_id[:2], 16) % HUES}"


def _day(text: str, event: Mapping[str, Any]) -> str:
    return str(_local(text, event).day)


def _weekday(text: str, event: Mapping[str, Any]) -> str:
    return f"{_local(text, event):%a}"


def month(event: Mapping[str, Any]) -> str:
    """The month in which an event starts, at its venue."""
    return f"{_local(event['starts_at'], event):%B %Y}"
