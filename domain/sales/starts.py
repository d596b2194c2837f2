"""The start of an event: an instant, and the local time at the venue. Pure.

Sales and cancellations follow the instant. The local time is what the organizer means if the rules of the zone change;
`onsale zones` lists the events whose two times no longer agree.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from domain.kernel.refusals import Invalid
from domain.sales.zones import NoSuchTime, broken_offset, broken_zone, instant_of, instants, local_time

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONVERTED_YEARS = range(1999, 2102)
"""Years of instants that have a local time in every zone. `broken_times` in domain/sales/events.py refuses others."""


class Start(Struct, frozen=True):
    """When and in which zone an event starts. `starts_at` is in UTC, `starts_at_local` has no offset."""

    time_zone: str
    starts_at: datetime
    starts_at_local: datetime

    @classmethod
    def at(cls, starts_at: datetime, time_zone: str) -> Start:
        """The start at an instant."""
        if starts_at.year not in _CONVERTED_YEARS:
            return cls(time_zone, starts_at, starts_at.replace(tzinfo=None))
        instant = starts_at.astimezone(UTC)
        return cls(time_zone, instant, local_time(instant, time_zone))

    @property
    def right_instants(self) -> list[datetime]:
        """The instants of the local time by the installed rules of the zone: none, one or two."""
        return [] if broken_zone(self.time_zone) else instants(self.starts_at_local, self.time_zone)

    @property
    def moved(self) -> bool:
        """Whether the rules of the zone have changed since the instant was computed."""
        return self.starts_at not in self.right_instants


START_FIELDS = frozenset(Start.__struct_fields__)


def start_of(
    *,
    time_zone: str,
    starts_at: datetime | None = None,
    starts_at_local: datetime | None = None,
    current: Start | None = None,
) -> Start:
    """The start that an organizer gives: an instant with an offset, a local time, or both if they agree.

    An instant must be in UTC or have the offset of the zone. A local time that comes twice is the first of the two, or
    the current one. If neither is given, the current instant stays, and its local time follows the zone.

    Raises:
        Invalid: the zone is unknown, there is no such time, or the times and the zone contradict each other.
    """
    _check("/time_zone", broken_zone(time_zone))
    if starts_at is None and starts_at_local is not None:
        return _at_local(starts_at_local, time_zone, current)
    start = _at_instant(starts_at, time_zone, current)
    if starts_at_local not in {None, start.starts_at_local}:
        pointer, message = "/starts_at_local", f"is not the local time of starts_at in {time_zone}; give one of them"
        raise Invalid.at(pointer, message)
    return start


def changed_start(given: Mapping[str, Any], current: Start) -> dict[str, Any]:
    """The changes of an event, with all fields of its start if the start changes, and otherwise none of them.

    Raises:
        Invalid: as `start_of`.
    """
    others = {name: value for name, value in given.items() if name not in START_FIELDS}
    if len(others) == len(given):
        return others
    start = start_of(
        time_zone=given.get("time_zone", current.time_zone),
        starts_at=given.get("starts_at"),
        starts_at_local=given.get("starts_at_local"),
        current=current,
    )
    return others if start == current else others | structs.asdict(start)


def _at_instant(starts_at: datetime | None, time_zone: str, current: Start | None) -> Start:
    if starts_at is not None:
        _check("/starts_at", broken_offset(starts_at, time_zone))
    if current is not None and current.time_zone == time_zone and starts_at in {None, current.starts_at}:
        return current
    instant = current.starts_at if starts_at is None and current is not None else starts_at
    if instant is None:
        pointer, message = "/starts_at", "is required, unless there is starts_at_local"
        raise Invalid.at(pointer, message)
    return Start.at(instant, time_zone)


def _at_local(local: datetime, time_zone: str, current: Start | None) -> Start:
    same = current is not None and (current.time_zone, current.starts_at_local) == (time_zone, local)
    if current is not None and same and not current.moved:
        return current
    try:
        return Start(time_zone, instant_of(local, time_zone), local)
    except NoSuchTime as refused:
        pointer = "/starts_at_local"
        raise Invalid.at(pointer, str(refused)) from None


def _check(pointer: str, broken: str | None) -> None:
    if broken is not None:
        raise Invalid.at(pointer, broken)
