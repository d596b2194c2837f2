"""Downloads of files that are generated while they are sent: a limited number at once, each with a deadline.

Making a file is work for the process. So parts are made one after the other, and after each part the process makes none
for as long as that part took. One slow reader costs little: between two reads it holds no connection to PostgreSQL, and
nothing is made ahead of what it takes. A reader that takes nothing is cut off (`api/server/connection.py`). Hundreds of
slow readers would fill the buffers of as many connections at once, and every other request would wait for that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from api.http.server_scope import ABORT
from domain.kernel.refusals import RateLimited, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

DOWNLOADS_MAX = 16
"""Concurrent downloads of a process."""

DOWNLOADS_PER_ACCOUNT_MAX = 2
"""Concurrent downloads of an account in a process."""

DOWNLOAD_S_MAX = 120.0
"""The deadline of a download: 100,000 guests are 12 MB, which a slow mobile network transfers in this time."""

REST_S_MAX = 0.1
"""The longest pause after a part. A part that waited long for PostgreSQL did not use the process for that time."""

RETRY_AFTER_SECONDS = 10


class Downloads:
    """The downloads of this process."""

    def __init__(self) -> None:
        self._under_way: Counter[UUID] = Counter()
        self._turn = asyncio.Lock()

    def begin(self, scope: Any, account_id: UUID) -> Download:  # noqa: ANN401  (has keys of ours)
        """Begin a download; raises RateLimited or Unavailable if too many are under way."""
        if self._under_way[account_id] >= DOWNLOADS_PER_ACCOUNT_MAX:
            detail = (
                f"An account may download {DOWNLOADS_PER_ACCOUNT_MAX} files at once. Wait until a download has ended."
            )
            raise RateLimited(
                detail,
                retry_after_seconds=RETRY_AFTER_SECONDS,
                limit="downloads",
                quota=DOWNLOADS_PER_ACCOUNT_MAX,
                window_seconds=round(DOWNLOAD_S_MAX),
            )
        if self._under_way.total() >= DOWNLOADS_MAX:
            detail = "Too many files are being downloaded. Try again."
            raise Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)
        return Download(self._under_way, self._turn, account_id, scope)


class Download:
    """One download. It is counted until its end or its deadline."""

    def __init__(
        self,
        under_way: Counter[UUID],
        turn: asyncio.Lock,
        account_id: UUID,
        scope: Any,  # noqa: ANN401  (as above)
    ) -> None:
        self._under_way = under_way
        self._turn = turn
        self._account_id = account_id
        self._abort = scope.get(ABORT)
        self._deadline: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(DOWNLOAD_S_MAX, self._expire)
        under_way[account_id] += 1

    async def sent(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The parts of the file."""
        try:
            while part := await self._made(parts):
                yield part
        finally:
            self.end()

    async def _made(self, parts: AsyncIterator[bytes]) -> bytes | None:
        """The next part, None after the last. It is generated alone and followed by a pause, in which bookings run."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            began = loop.time()
            part = await anext(parts, None)
            await asyncio.sleep(min(loop.time() - began, REST_S_MAX))
        return part

    def end(self) -> None:
        """Stop counting this download. A repeated call changes nothing."""
        if self._deadline is None:
            return
        self._deadline.cancel()
        self._deadline = None
        self._under_way[self._account_id] -= 1
        if not self._under_way[self._account_id]:
            del self._under_way[self._account_id]

    def _expire(self) -> None:
        """Abort the connection, so that the reader does not take a part of the file for all of it."""
        self.end()
        if self._abort:
            self._abort()
