"""The files between a trial and its process of hold buyers, which is killed and restarted at any moment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from ops.evidence.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDER = "HOLDS_FOLDER"
"""The environment variable that names the folder of the files."""


class HoldsEvent(Struct, frozen=True):
    """An event that is on sale."""

    id: UUID
    max_per_user: int


class HoldsPlan(Struct, frozen=True, kw_only=True):
    """What the buyers do: `hold_ms` are the shortest and the longest hold, `think_s` the mean pause between orders."""

    seed: str
    accounts: list[UUID]
    events: list[HoldsEvent]
    hold_ms: tuple[int, int]
    think_s: float = 0.7


class HoldsFiles:
    """The plan, the answers, whether buyers may begin something new, and whether they have all their answers."""

    def __init__(self, folder: Path) -> None:
        self._plan = folder / "holds.json"
        self._open = folder / "holds.open"
        self._done = folder / "holds.done"
        self._answers = folder / "holds.jsonl"

    def begin(self, plan: HoldsPlan) -> None:
        """Write the plan, and let buyers begin."""
        self._answers.touch()
        self._open.touch()
        written = self._plan.with_suffix(".new")
        written.write_bytes(msgspec.json.encode(plan))
        written.rename(self._plan)

    def leave(self) -> None:
        """Let buyers begin nothing new."""
        self._open.unlink(missing_ok=True)

    def finish(self) -> None:
        """Note that every buyer has its answers."""
        self._done.touch()

    @property
    def begun(self) -> bool:
        """Whether there is a plan."""
        return self._plan.exists()

    @property
    def open(self) -> bool:
        """Whether buyers may begin something new."""
        return self._open.exists()

    @property
    def done(self) -> bool:
        """Whether every buyer has its answers."""
        return self._done.exists()

    def plan(self) -> HoldsPlan:
        """Read the plan."""
        return msgspec.json.decode(self._plan.read_bytes(), type=HoldsPlan)

    def answers(self) -> list[Answer]:
        """Read every request with its answer. A request that was sent and not answered has the defaults."""
        lines = self._answers.read_bytes().splitlines()
        decoder = msgspec.json.Decoder(Answer)
        latest = {(each.kind, each.subject, each.sent_s): each for each in map(decoder.decode, lines)}
        return list(latest.values())

    def log(self) -> HoldsLog:
        """Open the answers to append to them."""
        return HoldsLog(self._answers)


class HoldsLog:
    """Appends requests and answers, one line each. Nothing is buffered, so a kill loses nothing."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encoder = msgspec.json.Encoder()

    def append(self, answer: Answer) -> None:
        """Write a request before it is sent, and again with its answer."""
        os.write(self._file, self._encoder.encode(answer) + b"\n")


def unanswered(answers: Iterable[Answer]) -> list[Answer]:
    """The last request of each booking and kind, where it has no conclusive answer."""
    last = {(each.kind, each.subject): each for each in answers}
    return [each for each in last.values() if not each.conclusive]
