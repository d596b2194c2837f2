"""Time zones of events, and the conversion between an instant and the local time of the venue. Pure.

The rules of all zones come from the package `tzdata`, whose version is locked. The files of the system are never read:
they differ from host to host, and so would the start of an event. PostgreSQL and browsers have rules of their own, so
nothing is converted in SQL or JavaScript.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

if TYPE_CHECKING:
    from datetime import tzinfo

DEFAULT_ZONE = "UTC"

_AREAS = (
    "Africa/",
    "America/",
    "Antarctica/",
    "Arctic/",
    "Asia/",
    "Atlantic/",
    "Australia/",
    "Europe/",
    "Indian/",
    "Pacific/",
)

ZONE_CHARS_MAX = 40
"""Characters of a zone's name; the longest has 32."""

ZoneName = Annotated[
    str,
    Meta(
        max_length=ZONE_CHARS_MAX,
        examples=["Europe/Berlin"],
        description="The time zone of the venue: a name of the IANA database, such as `Europe/Berlin`, or `UTC`.",
    ),
]
"""The name of a zone in a body; `broken_zone` finds what the type cannot."""

_YEARS = range(2000, 2101)
"""The years of local times, as of instants (domain/sales/events.py)."""


class NoSuchTime(ValueError):
    """A local time that cannot be the start of an event; `str()` says why."""


def broken_zone(name: str) -> str | None:
    """What is wrong with the name of a zone, None if an event can be in it.

    A venue is at a place, so its zone is named after one: `UTC`, or a name of the form Area/Place. Older names of a
    place are accepted and kept: browsers still report `Asia/Calcutta` for `Asia/Kolkata`. Refused are abbreviations
    (CET, MET, EET, WET, EST5EDT), which PostgreSQL takes for fixed offsets; `Etc/GMT+5` and the like, which have no
    changes of clocks and the opposite sign; names of countries (GB, US/Pacific); and POSIX strings, `localtime`,
    `posixrules`, `Factory`.
    """
    if name in zone_names():
        return None
    return "must be UTC or a zone of the IANA database that is named after a place, such as Europe/Berlin"


@cache
def zone_names() -> frozenset[str]:
    """The zones that an event can be in."""
    known = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(name for name in known if name == DEFAULT_ZONE or name.startswith(_AREAS))


def zone_data_version() -> str:
    """The version of the package that has the rules, such as 2026.6 for the database 2026f."""
    return version("tzdata")


def local_time(instant: datetime, zone: str) -> datetime:
    """The local time in a zone at an instant, without an offset."""
    return instant.astimezone(_rules(zone)).replace(tzinfo=None, fold=0)


def instants(local: datetime, zone: str) -> list[datetime]:
    """The instants, in UTC, at which clocks in the zone show a local time: mostly one.

    There are two of them, the earlier first, if the clocks are set back over this time; none if they skip it.
    """
    rules = _rules(zone)
    found = {local.replace(tzinfo=rules, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(each for each in found if local_time(each, zone) == local)


def instant_of(local: datetime, zone: str) -> datetime:
    """The instant of a local time; the first of two.

    Raises:
        NoSuchTime: clocks in the zone skip this time, or the year is not in 2000 to 2100.
    """
    if local.year not in _YEARS:
        message = f"must be in {_YEARS[0]} to {_YEARS[-1]}"
        raise NoSuchTime(message)
    found = instants(local, zone)
    if not found:
        message = f"does not exist in {zone}: the clocks skip this time when they are set forward"
        raise NoSuchTime(message)
    return found[0]


def broken_offset(instant: datetime, zone: str) -> str | None:
    """What is wrong with the offset of an instant, None if it is that of the zone at this instant.

    `Z` and `+00:00` fit every zone: they give an instant in UTC and say nothing of local time (RFC 9557, 3.4). Every
    offset fits UTC, the zone of events whose organizer names none.
    """
    offset = instant.utcoffset()
    if not offset or zone == DEFAULT_ZONE or not _YEARS[0] - 1 <= instant.year <= _YEARS[-1] + 1:
        # Other years are refused by a rule of their own; some cannot be converted.
        return None
    expected = instant.astimezone(_rules(zone)).utcoffset() or timedelta()
    if offset == expected:
        return None
    return f"has the offset {_written(offset)}, but clocks in {zone} are at {_written(expected)} then"


@cache
def _rules(name: str) -> tzinfo:
    """The rules of a zone of `zone_names`."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def _written(offset: timedelta) -> str:
    minutes = offset // timedelta(minutes=1)
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
