"""What the buyers were told: each answer, and each that did not come, is one line of a file."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

NO_ANSWER = 0
"""The `status` of a request that nothing came back from: the connection broke, or the buyer lost patience."""

SERVER_ERRORS = range(500, 600)
ACCEPTANCES = frozenset({200, 201, 202})


class Kind(StrEnum):
    """What a buyer asked."""

    BOOK = "book"
    POLL = "poll"
    CANCEL = "cancel"


class Order(Struct, frozen=True):
    """What somebody wants: one key, one request, however often it is sent."""

    buyer: UUID
    event: UUID
    key: str
    quantity: int


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request about an order, and what it was answered. Seconds are of one monotonic clock.

    `state`, `booking` and `reason` are the booking's, `code` the refusal's.
    """

    kind: Kind
    order: Order
    sent_s: float
    answered_s: float
    status: int = NO_ANSWER
    booking: UUID | None = None
    state: str | None = None
    reason: str | None = None
    code: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether it says that the order has its places."""
        return self.kind is Kind.BOOK and self.status in ACCEPTANCES

    @property
    def conclusive(self) -> bool:
        """Whether there is no point in asking the same again."""
        return self.status != NO_ANSWER and self.status not in SERVER_ERRORS


class AnswerLog:
    """Writes answers to a file as they come, for whoever looks into it later, and keeps them."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")
        self._encoder = msgspec.json.Encoder()
        self.answers: list[Answer] = []

    def append(self, answer: Answer) -> None:
        """Keep an answer."""
        self._file.write(self._encoder.encode(answer) + b"\n")
        self.answers.append(answer)

    def close(self) -> None:
        """Write the rest."""
        self._file.close()


def read_answers(path: Path) -> list[Answer]:
    """Every answer of a trial, in the order they came."""
    return msgspec.json.Decoder(Answer).decode_lines(path.read_bytes())
