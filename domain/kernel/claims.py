"""Claims: what a booking takes of which counter.

A counter is anything scarce of an event. Its name says to the code that computes claims what it counts; all other code
treats every counter alike. Counters differ only in where PostgreSQL stores them, and the name decides that too:

- A counter of the event has a row with its size and its count.
- A counter of one account has none, because an event has as many of them as it has buyers. Its name contains the
  account's id.
- A single is a counter of one unit, such as a numbered seat. It has a row while a booking holds it, and the primary key
  refuses a second one. Its name begins with SINGLE. A booking that gives back one of its singles still names it, with a
  claim of 0 units, so that its row is found.

A booking's claims are stored with it, as a text like `user:<account>=2 pool:main=2`: in its record in Redis, in its row
and its intent in PostgreSQL. They are never computed again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COUNTER_NAME = re.compile(r"(?!size:)[a-z]+:[A-Za-z0-9:_-]{1,80}")
"""The names that counters can have. `size:` begins the field with a counter's size; PostgreSQL has the same rule."""

CLAIMS_MAX = 256
"""Counters that one booking can claim."""

SIZE_MAX = 2_147_483_647
"""The size of a counter that limits nothing."""

SINGLE = "seat:"
"""Begins the name of a single."""

SINGLE_SIZE = 1
"""The size of a single, by definition: the event does not list it."""

OWN = "@"
"""Stands for the booking's own account in the names of counters, as PostgreSQL stores them."""


class Claim(Struct, frozen=True, array_like=True, gc=False):
    """A claim of `quantity` units of one counter, whose total is `size`."""

    counter: str
    quantity: int
    size: int


def merge_claims(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """At most one claim of each counter, in the order of their first; the smallest size of a counter counts.

    Raises:
        ValueError: there are more than CLAIMS_MAX.
    """
    merged: dict[str, Claim] = {}
    for claim in claims:
        before = merged.get(claim.counter)
        if before is None:
            merged[claim.counter] = claim
        else:
            quantity, size = before.quantity + claim.quantity, min(before.size, claim.size)
            merged[claim.counter] = Claim(claim.counter, quantity, size)
    if len(merged) > CLAIMS_MAX:
        message = f"{len(merged)} counters are claimed, {CLAIMS_MAX} is the limit"
        raise ValueError(message)
    return tuple(merged.values())


def gates_text(gates: dict[str, str]) -> str:
    """The gates of an event as the scripts read them."""
    return " ".join(f"{counter}={gate}" for counter, gate in gates.items())


def claims_text(claims: Iterable[Claim]) -> str:
    """Claims as they are stored."""
    return " ".join(f"{claim.counter}={claim.quantity}" for claim in claims)


def read_claims(text: str) -> dict[str, int]:
    """The quantity claimed of each counter."""
    pairs = (claim.rsplit("=", 1) for claim in text.split(" ") if claim)
    return {counter: int(quantity) for counter, quantity in pairs}


def reduced_claims(text: str, kept: Mapping[str, int]) -> str:
    """Claims of which only `kept` remain; a counter of which nothing is kept stays, with 0 units.

    So the counters of a booking are always the same ones: PostgreSQL locks them by its newest claims, and the counter
    of the account marks that it has booked the event.

    Raises:
        ValueError: more is kept of a counter than is claimed.
    """
    claims = read_claims(text)
    if any(quantity > claims.get(counter, 0) for counter, quantity in kept.items()):
        message = f"{dict(kept)} cannot be kept of {text}"
        raise ValueError(message)
    return " ".join(f"{counter}={kept.get(counter, 0)}" for counter in claims)


def returned_claims(text: str, kept: str) -> str:
    """The claims of which `kept` remain that are given back."""
    left = read_claims(kept)
    returned = {counter: quantity - left[counter] for counter, quantity in read_claims(text).items()}
    return " ".join(f"{counter}={quantity}" for counter, quantity in returned.items() if quantity)


def stored_claims(text: str, user_id: UUID | str) -> str:
    """Claims as PostgreSQL stores them: with OWN for the account. So most bookings of an event have the same text."""
    return text.replace(_hex(user_id), OWN)


def own_claims(text: str, user_id: UUID | str) -> str:
    """The inverse of `stored_claims`."""
    return text.replace(OWN, _hex(user_id))


def counters_with_row(text: str) -> list[str]:
    """The claimed counters that PostgreSQL may have a row with a count of, given `without_singles(stored_claims)`."""
    return [counter for counter in read_claims(text) if OWN not in counter]


def is_single(counter: str) -> bool:
    """Whether a counter is a single."""
    return counter.startswith(SINGLE)


def without_singles(text: str) -> str:
    """The other claims: most bookings of an event have the same ones."""
    return _SINGLES.sub("", text) if SINGLE in text else text


def claimed_singles(text: str) -> list[tuple[str, int]]:
    """The singles that claims name, and the units claimed of each: 1, or 0 of one that was given back."""
    return [(counter, int(units)) for counter, units in _SINGLES.findall(text)]


_SINGLES = re.compile(r"(?<!\S)(seat:\S+)=(\d+) ?")
"""A claim of a single: SINGLE, the rest of its name, its units."""


def _hex(user_id: UUID | str) -> str:
    return user_id.hex if isinstance(user_id, UUID) else user_id.replace("-", "")
