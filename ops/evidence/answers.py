"""What clients asked and what they were answered: each request is one line of a file, the evidence of `checks.py`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.kernel.partitions import booking_id_for_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BUFFER_BYTES = 1 << 16
"""Bytes that are written to the file at once: a few hundred answers, about one write in a second."""

NO_ANSWER = 0
"""The `status` of a request without an answer: the connection broke, or the client stopped waiting."""

EVERYBODY_LEFT = "everybody left"
"""How a run ends that nothing cut short."""

CONFLICT = 409
SERVER_ERRORS = range(500, 600)


class Kind(StrEnum):
    """What a client asked."""

    LOGIN = "login"
    LOOK = "look"
    """The page of the event."""
    BOOK = "book"
    REPLAY = "replay"
    """The same key and body once more, after an acceptance."""
    POLL = "poll"
    LONG_POLL = "long poll"
    """A poll that the server may hold back until the booking is final."""
    CANCEL = "cancel"
    CONFIRM = "confirm"
    """A hold becomes a booking."""
    EXTEND = "extend"
    """The deadline of a hold moves."""
    REDUCE = "reduce"
    """A booking gives back some of its tickets."""


class Outcome(StrEnum):
    """The name under which an answer is counted."""

    LOGIN = "login"
    LOOK = "look"
    ACCEPTED = "book: accepted"
    REFUSED = "book: refused"
    REPLAYED = "book: replayed"
    POLL = "poll"
    LONG_POLL = "poll: held back"
    CANCEL = "cancel"
    CONFIRM = "hold: confirmed"
    EXTEND = "hold: extended"
    REDUCE = "booking: reduced"
    HOLD_OVER = "hold: refused"
    FAILED = "failed"
    """No answer, or one that the contract does not have for this request."""


ACCEPTANCES = frozenset({200, 201, 202})

DOCUMENTED: dict[Kind, tuple[Outcome, frozenset[int]]] = {
    Kind.LOGIN: (Outcome.LOGIN, frozenset({200})),
    Kind.LOOK: (Outcome.LOOK, frozenset({200})),
    Kind.BOOK: (Outcome.ACCEPTED, ACCEPTANCES),
    Kind.REPLAY: (Outcome.REPLAYED, ACCEPTANCES),
    Kind.POLL: (Outcome.POLL, frozenset({200})),
    Kind.LONG_POLL: (Outcome.LONG_POLL, frozenset({200})),
    Kind.CANCEL: (Outcome.CANCEL, frozenset({200})),
    Kind.CONFIRM: (Outcome.CONFIRM, frozenset({200})),
    Kind.EXTEND: (Outcome.EXTEND, frozenset({200})),
    Kind.REDUCE: (Outcome.REDUCE, frozenset({200})),
}
"""The statuses of a success for each kind. None of the requests is conditional, so none is answered by 304."""

REFUSALS = frozenset({"sold_out", "per_user_limit"})
"""Codes of 409 for a valid request for tickets on sale."""

HOLD_REFUSALS = {
    Kind.CONFIRM: frozenset({"hold_expired"}),
    Kind.EXTEND: frozenset({"hold_expired", "hold_at_cap"}),
    Kind.REDUCE: frozenset({"hold_expired"}),
}
"""Codes of 409 for a valid request about a hold."""


def outcome_of(kind: Kind, *, status: int, code: str | None) -> Outcome:
    """The name under which an answer to `kind` is counted."""
    outcome, documented = DOCUMENTED[kind]
    if status in documented:
        return outcome
    if kind is Kind.BOOK and status == CONFLICT and code in REFUSALS:
        return Outcome.REFUSED
    if status == CONFLICT and code in HOLD_REFUSALS.get(kind, ()):
        return Outcome.HOLD_OVER
    return Outcome.FAILED


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request and its answer; a request that is not answered has the defaults.

    `sent_s` is of one clock for all answers of a run.
    `key` and `quantity` belong to the order, `state` and `reason` to the booking, `code` to the refusal. `booking` is
    the booking that the request or the answer names. `confirm_ms` is the time from `created_at` to `confirmed_at`.
    `hold_ms` and `units` belong to orders that the engine takes and HTTP does not: how long the claims are held, and
    further claims, as lists of `counter=quantity` with | between alternatives. `gate_pass` is the pass that the request
    has for counters with a gate. `kept` is the number of tickets that a reduction keeps.
    """

    kind: Kind
    buyer: UUID
    sent_s: float = 0.0
    took_ms: float = 0.0
    status: int = NO_ANSWER
    event: UUID | None = None
    key: str | None = None
    quantity: int = 0
    booking: UUID | None = None
    state: str | None = None
    reason: str | None = None
    code: str | None = None
    confirm_ms: float | None = None
    hold_ms: int = 0
    units: str = ""
    gate_pass: str = ""
    kept: int = 0

    @property
    def answered_s(self) -> float:
        """The time of the answer."""
        return self.sent_s + self.took_ms / 1000

    @property
    def outcome(self) -> Outcome:
        """The name under which this answer is counted."""
        return outcome_of(self.kind, status=self.status, code=self.code)

    @property
    def ordered(self) -> bool:
        """Whether it is about a request for tickets, first or repeated."""
        return self.kind in {Kind.BOOK, Kind.REPLAY}

    @property
    def accepted(self) -> bool:
        """Whether it acknowledges a booking."""
        return self.ordered and self.status in ACCEPTANCES

    @property
    def conclusive(self) -> bool:
        """Whether the same request would get the same answer."""
        return self.status != NO_ANSWER and self.status not in SERVER_ERRORS

    @property
    def subject(self) -> UUID | None:
        """The booking that the request is about: it follows from buyer, key and event."""
        if self.key is None or self.event is None:
            return self.booking
        return booking_id_for_key(account_id=self.buyer, idempotency_key=self.key, event_id=self.event)


def about(kind: Kind, accepted: Answer) -> Answer:
    """A request about a booking that was accepted; with `Kind.BOOK`, the same order once more."""
    return Answer(
        kind=kind,
        buyer=accepted.buyer,
        event=accepted.event,
        key=accepted.key,
        quantity=accepted.quantity,
        hold_ms=accepted.hold_ms,
        units=accepted.units,
        gate_pass=accepted.gate_pass,
        booking=None if kind is Kind.BOOK else accepted.booking,
    )


class AnswerLog:
    """Writes answers to a file. Answers in the buffer are lost if the process is killed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=BUFFER_BYTES)
        self._encoder = msgspec.json.Encoder()
        self.count = 0

    def append(self, answer: Answer) -> None:
        """Write an answer."""
        self._file.write(self._encoder.encode(answer) + b"\n")
        self.count += 1

    def close(self) -> None:
        """Write the rest of the buffer."""
        self._file.close()


def read_answers(path: Path) -> list[Answer]:
    """Read every answer of a run, in the order of the answers."""
    return msgspec.json.Decoder(Answer).decode_lines(path.read_bytes())


def first_acceptances(answers: Iterable[Answer]) -> dict[UUID, Answer]:
    """The first acceptance of each booking."""
    accepted: dict[UUID, Answer] = {}
    for answer in answers:
        if answer.accepted and answer.booking:
            accepted.setdefault(answer.booking, answer)
    return accepted
