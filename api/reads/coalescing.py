"""Readings that are shared by everybody who asks the same at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from domain.kernel.refusals import Refusal, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

Question = TypeVar("Question", bound="Hashable")
Shown = TypeVar("Shown")

WAITING_MAX = 10_000
"""Questions that may wait to be read; as many as calls may wait for Redis."""

RETRY_AFTER_SECONDS = 1


class Shared(Generic[Question, Shown]):
    """Answers every caller with a reading that began after the call, so nobody sees a state older than its question.

    While one reading of a question is under way, whoever asks the same joins the next: thousands who look
    at one thing cost two readings at a time.
    """

    def __init__(self, read: Callable[[Question], Awaitable[Shown]]) -> None:
        self._read = read
        self._current: dict[Question, asyncio.Task[Shown | Refusal]] = {}
        self._next: dict[Question, asyncio.Task[Shown | Refusal]] = {}

    async def of(self, question: Question) -> Shown:
        """What the question's reading answers, or raises as a refusal; raises Unavailable when too many wait."""
        reading = self._next.get(question)
        if reading is None:
            if len(self._next) >= WAITING_MAX:
                detail = "Too many different questions wait for an answer."
                raise Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)
            reading = asyncio.create_task(self._answer(question, after=self._current.get(question)))
            self._next[question] = reading
        # A caller who goes away does not take the reading from the others.
        shown = await asyncio.shield(reading)
        if isinstance(shown, Refusal):
            raise type(shown)(shown.detail, **shown.facts) from shown
        return shown

    async def _answer(self, question: Question, *, after: asyncio.Task[Shown | Refusal] | None) -> Shown | Refusal:
        if after is not None:
            await asyncio.wait([after])
        # From here on it is too late to join.
        self._current[question] = self._next.pop(question)
        reading = self._current[question]
        try:
            return await self._read(question)
        except Refusal as refusal:
            return refusal
        finally:
            if self._current.get(question) is reading:
                del self._current[question]
