"""What the buyers of a run were told: each answer is one line of a file, the evidence of `verify`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

BUFFER_BYTES_MAX = 1 << 16
"""Answers are written when this much has gathered: a few hundred at once, about one write in a second."""

REFUSALS = frozenset({"sold_out", "per_user_limit"})
"""Codes of 409 that a sound request for tickets on sale can get."""

CONFLICT = 409

EVERYBODY_LEFT = "everybody left"
"""How a run ends that nothing cut short."""


class Kind(StrEnum):
    """What a buyer asked."""

    LOGIN = "login"
    LOOK = "look"
    """The event's page, which people have open who wait for the sale to begin."""
    BOOK = "book"
    REPLAY = "replay"
    """The same key and body once more, after an acceptance."""
    POLL = "poll"
    LONG_POLL = "long poll"
    """A poll that the server may hold back until the booking is final."""
    CANCEL = "cancel"


class Outcome(StrEnum):
    """The name an answer is counted under."""

    LOGIN = "login"
    LOOK = "look"
    ACCEPTED = "book: accepted"
    REFUSED = "book: refused"
    REPLAYED = "book: replayed"
    POLL = "poll"
    LONG_POLL = "poll: held back"
    CANCEL = "cancel"
    FAILED = "failed"
    """An answer that the contract has not for this request, or none at all."""


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer to one buyer.

    `status` is 0 when no answer came. `state` and `reason` are the booking's, `code` the refusal's.
    `confirm_ms` is the time between the booking's `created_at` and its `confirmed_at`.
    """

    kind: Kind
    buyer: UUID
    sent_s: float
    took_ms: float
    status: int
    key: str | None = None
    quantity: int = 0
    booking: UUID | None = None
    state: str | None = None
    reason: str | None = None
    code: str | None = None
    confirm_ms: float | None = None

    @property
    def answered_s(self) -> float:
        """When the answer was there, in seconds since 1970."""
        return self.sent_s + self.took_ms / 1000

    @property
    def outcome(self) -> Outcome:
        """The name this answer is counted under."""
        return outcome_of(self.kind, status=self.status, code=self.code)


class Closing(Struct, frozen=True, kw_only=True):
    """How a run went for the machine that made the load.

    `cpu_shares` is the part of one core the generator used in each second since the opening.
    """

    opened_s: float
    ended: str
    cpu_shares: list[float]


_ACCEPTED = frozenset({200, 201, 202})
_DOCUMENTED: dict[Kind, tuple[Outcome, frozenset[int]]] = {
    Kind.LOGIN: (Outcome.LOGIN, frozenset({200})),
    Kind.LOOK: (Outcome.LOOK, frozenset({200, 304})),
    Kind.BOOK: (Outcome.ACCEPTED, _ACCEPTED),
    Kind.REPLAY: (Outcome.REPLAYED, _ACCEPTED),
    Kind.POLL: (Outcome.POLL, frozenset({200, 304})),
    Kind.LONG_POLL: (Outcome.LONG_POLL, frozenset({200, 304})),
    Kind.CANCEL: (Outcome.CANCEL, frozenset({200})),
}


def outcome_of(kind: Kind, *, status: int, code: str | None) -> Outcome:
    """What an answer to `kind` counts as."""
    outcome, documented = _DOCUMENTED[kind]
    if status in documented:
        return outcome
    if kind is Kind.BOOK and status == CONFLICT and code in REFUSALS:
        return Outcome.REFUSED
    return Outcome.FAILED


class AnswerLog:
    """Writes answers to a file, a buffer at a time; what is buffered is lost when the process is killed."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self.count = 0

    def append(self, answer: Answer) -> None:
        """Keep an answer."""
        self._buffer += self._encoder.encode(answer)
        self._buffer += b"\n"
        self.count += 1
        if len(self._buffer) >= BUFFER_BYTES_MAX:
            self._flush()

    def close(self) -> None:
        """Write the rest."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._file.write(self._buffer)
        self._buffer.clear()


def read_answers(path: Path) -> list[Answer]:
    """Every answer of a run, in the order they came."""
    return msgspec.json.Decoder(Answer).decode_lines(path.read_bytes())


def closing_path(answers: Path) -> Path:
    """Where the closing of the run stands whose answers are in `answers`."""
    return answers.with_suffix(".closing.json")


def write_closing(answers: Path, closing: Closing) -> None:
    """Put the closing beside the answers."""
    closing_path(answers).write_bytes(msgspec.json.encode(closing))


def read_closing(answers: Path) -> Closing:
    """The closing beside the answers; raises FileNotFoundError when the run did not end by itself."""
    return msgspec.json.decode(closing_path(answers).read_bytes(), type=Closing)
