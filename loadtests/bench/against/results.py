"""What a comparison of two builds found, and its report: every figure of this build as a ratio to the other's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct, field

from loadtests.bench.cases.cases import Measured
from loadtests.bench.cases.confirming import Half
from loadtests.bench.cases.memory import Memory
from loadtests.bench.report.figure import number
from loadtests.bench.report.spread import ratio_of, spread_of
from loadtests.bench.report.tables import PARTS, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Figure = TypeVar("Figure")

ENGINE = ("program", "valkey", "worker", "postgres")
"""The parts whose CPU adds up to what a request costs."""

CPU_MS_MIN = 0.002
"""Less CPU for one request than this is noise: no ratio is told of it."""


class Pair(Struct, Generic[Figure]):
    """Figures of the same measurement of both builds, round by round: `this` is the working tree's."""

    this: list[Figure] = []
    other: list[Figure] = []

    def of(self, side: str) -> list[Figure]:
        """The figures of "this" or of the "other"."""
        return self.this if side == "this" else self.other

    @property
    def both(self) -> tuple[list[Figure], list[Figure]]:
        """This build's and the other's."""
        return self.this, self.other


class ComparedCase(Struct):
    """A case."""

    name: str
    title: str
    measured: Pair[Measured]


class Comparison(Struct, kw_only=True):
    """A run; what was not measured is empty."""

    started_at: str
    machine: dict[str, object]
    options: dict[str, object]
    generator: str
    this: str
    other: str
    cases: list[ComparedCase] = []
    drains: Pair[float] = field(default_factory=Pair)
    halves: Pair[Half] = field(default_factory=Pair)
    memories: Pair[Memory] = field(default_factory=Pair)
    idles: Pair[dict[str, float]] = field(default_factory=Pair)
    rss_bytes: Pair[dict[str, int]] = field(default_factory=Pair)

    def case(self, name: str, title: str) -> Pair[Measured]:
        """The figures of a case, begun if there are none."""
        for each in self.cases:
            if each.name == name:
                return each.measured
        self.cases.append(ComparedCase(name, title, Pair()))
        return self.cases[-1].measured


def report(found: Comparison) -> str:
    """The whole report."""
    sections = [_head(found)]
    if found.cases:
        sections += [_rates(found.cases), _cpu(found.cases)]
    if lines := list(_others(found)):
        sections.append(table(["Other figures", "this", "other", "this / other", "lowest", "highest"], lines))
    return "\n\n".join(sections)


def _head(found: Comparison) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in found.machine.items())
    options = ", ".join(f"{name} {value}" for name, value in found.options.items())
    sides = f"this: {found.this}; other: {found.other}. Ratios are medians of those within each round."
    return f"{found.started_at}; {machine}; generator {found.generator}; {options}\n\n{sides}"


def _rates(cases: Sequence[ComparedCase]) -> str:
    lines = [
        [case.title, *_compared(case.measured, lambda each: each.per_second), _p99(case.measured)] for case in cases
    ]
    return table(["Requests per s", "this", "other", "this / other", "lowest", "highest", "p99 ms"], lines)


def _p99(pair: Pair[Measured]) -> str:
    this, other = (number(spread_of([each.p99_ms for each in side]).median) for side in pair.both)
    return f"{this} / {other}"


def _cpu(cases: Sequence[ComparedCase]) -> str:
    lines = []
    for case in cases:
        for name, parts in (("all parts", ENGINE), *((part, (part,)) for part in PARTS if part in ENGINE)):
            used = [[sum(each.cpu_ms.get(part, 0.0) for part in parts) for each in side] for side in case.measured.both]
            if min(map(min, used)) < CPU_MS_MIN:
                continue
            this, other = (f"{spread_of(side).median:.4f}" for side in used)
            lines.append([f"{case.title}: {name}", this, other, *_spread(used[0], used[1])])
    return table(["CPU ms per request", "this", "other", "this / other", "lowest", "highest"], lines)


def _others(found: Comparison) -> Iterator[list[str]]:
    if found.drains.this:
        yield ["drained, bookings per s", *_compared(found.drains, lambda each: each)]
    if found.halves.this:
        yield ["half load: POST p50 ms", *_compared(found.halves, lambda each: each.post_p50_ms)]
        yield ["half load: POST p99 ms", *_compared(found.halves, lambda each: each.post_p99_ms)]
        yield ["half load: 202 to confirmed p50 ms", *_compared(found.halves, lambda each: each.confirm_p50_ms)]
        yield ["half load: 202 to confirmed p99 ms", *_compared(found.halves, lambda each: each.confirm_p99_ms)]
    if found.memories.this:
        yield ["Redis bytes, pending booking", *_compared(found.memories, lambda each: each.pending_bytes)]
        yield ["Redis bytes, persisted booking", *_compared(found.memories, lambda each: each.retired_bytes)]
    for part in found.rss_bytes.this[0] if found.rss_bytes.this else ():
        yield [f"RSS of {part}, MiB", *_compared(found.rss_bytes, lambda each, part=part: each[part] / 2**20)]  # type: ignore[misc]
    for part in found.idles.this[0] if found.idles.this else ():
        yield [f"idle, share of a core: {part}", *_compared(found.idles, lambda each, part=part: each[part])]  # type: ignore[misc]


def _compared(pair: Pair[Figure], value: Callable[[Figure], float]) -> list[str]:
    """Both medians and the ratio's spread."""
    this, other = ([value(each) for each in side] for side in pair.both)
    return [number(spread_of(this).median), number(spread_of(other).median), *_spread(this, other)]


def _spread(this: Sequence[float], other: Sequence[float]) -> list[str]:
    if not all(other):
        return ["-"] * 3
    ratio = ratio_of(this, other)
    return [f"{value:.2f}" for value in (ratio.median, ratio.low, ratio.high)]
