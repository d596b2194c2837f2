"""Coalesced reads of sessions: concurrent reads of different sessions share one statement."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from domain.kernel.refusals import Unavailable
from domain.platform.coalescing import own_copy

if TYPE_CHECKING:
    from uuid import UUID

    from domain.accounts.accounts import Standing
    from domain.store.postgres.accounts.sessions import Sessions

SESSIONS_PER_STATEMENT_MAX = 500
WAITING_MAX = 5_000
"""Reads that may wait: ten statements' worth, some hundred milliseconds."""

STATEMENTS_MAX = 2
"""Statements under way at the same time, so that a cold or absent Redis leaves PostgreSQL time for bookings."""


class Standings:
    """Reads many sessions in one statement, with a bounded number of sessions and statements."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._waiting: dict[UUID, asyncio.Future[Standing | None]] = {}
        self._readers: set[asyncio.Task[None]] = set()

    async def of(self, session_id: UUID) -> Standing | None:
        """The state of a session, read after this call began; None without a row.

        Raises:
            Unavailable: PostgreSQL cannot be asked, or too many reads are waiting.
        """
        answer = self._waiting.get(session_id)
        if answer is None:
            if len(self._waiting) >= WAITING_MAX:
                detail = "Too many sessions are being looked up."
                raise Unavailable(detail, retry_after_seconds=1)
            answer = self._waiting[session_id] = asyncio.get_running_loop().create_future()
            if len(self._readers) < STATEMENTS_MAX:
                self._start()
        # The cancellation of one caller does not cancel the read of the others.
        return await asyncio.shield(answer)

    def _start(self) -> None:
        reader = asyncio.create_task(self._read())
        self._readers.add(reader)
        reader.add_done_callback(self._ended)

    def _ended(self, reader: asyncio.Task[None]) -> None:
        self._readers.discard(reader)
        if self._waiting and len(self._readers) < STATEMENTS_MAX:
            self._start()

    async def _read(self) -> None:
        batch = dict(list(self._waiting.items())[:SESSIONS_PER_STATEMENT_MAX])
        for session_id in batch:
            del self._waiting[session_id]
        try:
            standings = await self._sessions.standings(list(batch))
        except Unavailable as error:
            for answer in batch.values():
                _refuse(answer, error)
            return
        except BaseException:
            for answer in batch.values():
                answer.cancel()
            raise
        for session_id, answer in batch.items():
            if not answer.done():
                answer.set_result(standings.get(session_id))


def _refuse(answer: asyncio.Future[Standing | None], error: Unavailable) -> None:
    if answer.done():
        return
    answer.set_exception(own_copy(error))
    # Mark the exception as retrieved, because every caller may have left.
    answer.exception()
