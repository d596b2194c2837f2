"""The figures of a run, computed from the buyers' answers, and their table."""

from __future__ import annotations

from collections import Counter
from math import ceil
from typing import TYPE_CHECKING

from msgspec import Struct

from ops.evidence.answers import Kind, Outcome, first_acceptances

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from loadtests.sales.profiles import SaleProfile
    from ops.evidence.answers import Answer

CEILING_SHARE = 0.9
"""The share of one core above which the generator limits the load, as locust itself warns."""


FAILED = ": failed"
"""How names of rates end whose answers were wrong or missing."""


class Closing(Struct, frozen=True, kw_only=True):
    """What the generator measured of itself: `cpu_shares` is its share of one core in each second since the opening."""

    opened_s: float
    ended: str
    cpu_shares: list[float]


def closing_path(answers: Path) -> Path:
    """The file of the closing of a run whose answers are in `answers`; there is none if the run was killed."""
    return answers.with_suffix(".closing.json")


class Times(Struct, frozen=True, kw_only=True):
    """Percentiles of durations in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Rate(Struct, frozen=True, kw_only=True):
    """Answers per second: the average over the seconds that had any, and the busiest second."""

    per_second: float
    per_second_peak: int
    times: Times


class Figures(Struct, frozen=True, kw_only=True):
    """The measurements of a run.

    `held_seconds` is the time from the first request for tickets until all tickets were held, None if they never were;
    `accepted_per_second` is over that time, or until the last acceptance. `seen` and `confirmed` are the time from 202
    to confirmed, as each buyer saw it and by the server's clocks.
    """

    rates: dict[str, Rate]
    held_seconds: float | None
    accepted_per_second: float
    seen: Times | None
    confirmed: Times | None
    generator_share_peak: float

    @property
    def failed(self) -> int:
        """The number of answers that were neither right nor a documented refusal."""
        return sum(rate.times.count for name, rate in self.rates.items() if name.endswith(FAILED))

    @property
    def generator_was_the_ceiling(self) -> bool:
        """Whether the generator, not the server, limited the figures."""
        return self.generator_share_peak >= CEILING_SHARE


def figures_of(answers: Sequence[Answer], closing: Closing, *, tickets: int) -> Figures:
    """The figures of a run. `requests` are those since the opening; logins and first looks come before."""
    groups: dict[str, list[Answer]] = {"requests": [answer for answer in answers if answer.sent_s >= closing.opened_s]}
    for answer in sorted(answers, key=_row_of):
        groups.setdefault(_name_of(answer), []).append(answer)
    held_seconds = seconds_until_held(answers, tickets=tickets)
    return Figures(
        rates={name: rate_of(those) for name, those in groups.items() if those},
        held_seconds=held_seconds,
        accepted_per_second=_accepted_per_second(answers, held_seconds=held_seconds),
        seen=_seen(answers),
        confirmed=_confirmed(answers),
        generator_share_peak=max(closing.cpu_shares, default=0.0),
    )


def rate_of(answers: Sequence[Answer]) -> Rate:
    """The rate and the durations of at least one answer."""
    seconds = Counter(int(answer.answered_s) for answer in answers)
    return Rate(
        per_second=len(answers) / len(seconds),
        per_second_peak=max(seconds.values()),
        times=times_of([answer.took_ms for answer in answers]),
    )


def times_of(values_ms: Sequence[float]) -> Times:
    """The percentiles of at least one duration. Each is a measured value, not an interpolation."""
    ordered = sorted(values_ms)
    p50, p95, p99 = (ordered[ceil(len(ordered) * share) - 1] for share in (0.50, 0.95, 0.99))
    return Times(count=len(ordered), p50_ms=p50, p95_ms=p95, p99_ms=p99)


def seconds_until_held(answers: Sequence[Answer], *, tickets: int) -> float | None:
    """The time from the first request for tickets until all tickets were held, None if they never were."""
    accepted = first_acceptances(answers)
    changes = [(answer.answered_s, answer.quantity) for answer in accepted.values()]
    changes += [
        (answer.answered_s, -accepted[answer.booking].quantity)
        for answer in answers
        if answer.outcome is Outcome.CANCEL and answer.booking in accepted
    ]
    held = 0
    for at_s, tickets_taken in sorted(changes):
        held += tickets_taken
        if held >= tickets:
            return at_s - _first_sent_s(answers)
    return None


def table(figures: Figures, profile: SaleProfile, *, run: str) -> str:
    """The figures as text."""
    head = f"{profile.title}: {profile.tickets} tickets, {profile.buyers} buyers, {run}"
    columns = "".join(f"{name:>9}" for name in ("count", "per s", "peak s", "p50 ms", "p95 ms", "p99 ms"))
    lines = [head, f"{'':26}{columns}"]
    lines += [
        f"{name:26}{rate.times.count:9}{rate.per_second:9.0f}{rate.per_second_peak:9}{_times(rate.times)}"
        for name, rate in figures.rates.items()
    ]
    for name, times in (("202 to confirmed, seen", figures.seen), ("202 to confirmed, server", figures.confirmed)):
        lines += [f"{name:26}{times.count:9}{'':18}{_times(times)}"] if times else []
    return "\n".join([*lines, _sale(figures, profile), _generator(figures)])


def _name_of(answer: Answer) -> str:
    return f"{answer.kind}{FAILED}" if answer.outcome is Outcome.FAILED else answer.outcome.value


def _row_of(answer: Answer) -> int:
    return list(Outcome).index(answer.outcome)


def _times(times: Times) -> str:
    return f"{times.p50_ms:9.1f}{times.p95_ms:9.1f}{times.p99_ms:9.1f}"


def _sale(figures: Figures, profile: SaleProfile) -> str:
    meanwhile = f"{figures.accepted_per_second:.0f} bookings accepted per second meanwhile"
    if figures.held_seconds is None:
        return f"not all tickets were held at once, {meanwhile}"
    theirs = f" (the organiser's system: {profile.held_seconds} s)" if profile.held_seconds else ""
    return f"all tickets held after {figures.held_seconds:.2f} s{theirs}, {meanwhile}"


def _generator(figures: Figures) -> str:
    used = f"the generator used {figures.generator_share_peak:.0%} of a core in its busiest second"
    return f"{used}: IT WAS THE CEILING, the server could do more" if figures.generator_was_the_ceiling else used


def _accepted_per_second(answers: Sequence[Answer], *, held_seconds: float | None) -> float:
    began_s = _first_sent_s(answers)
    times_s = [answer.answered_s - began_s for answer in first_acceptances(answers).values()]
    if not times_s:
        return 0.0
    until_s = max(times_s) if held_seconds is None else held_seconds
    return sum(at_s <= until_s for at_s in times_s) / until_s


def _first_sent_s(answers: Sequence[Answer]) -> float:
    return min(answer.sent_s for answer in answers if answer.kind is Kind.BOOK)


def _seen(answers: Sequence[Answer]) -> Times | None:
    accepted, seen_ms = first_acceptances(answers), {}
    for answer in sorted(answers, key=lambda answer: answer.answered_s):
        if answer.state == "confirmed" and answer.booking in accepted and answer.booking not in seen_ms:
            seen_ms[answer.booking] = (answer.answered_s - accepted[answer.booking].answered_s) * 1000
    return times_of(list(seen_ms.values())) if seen_ms else None


def _confirmed(answers: Sequence[Answer]) -> Times | None:
    times_ms = {answer.booking: answer.confirm_ms for answer in answers if answer.confirm_ms is not None}
    return times_of(list(times_ms.values())) if times_ms else None
