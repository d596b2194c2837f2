"""The end of an API process. After it was told to end, it serves for a moment longer, so that no request is lost.

1. `/health/ready` answers 503 with the status `stopping`, so that load balancers send no more requests. Requests are
   still accepted, and every answer closes its connection. This lasts SHUTDOWN_DELAY_SECONDS.
2. No connection is accepted any more. Long polls are answered with the last known state, and streams end.
3. Requests under way are answered; connections without one are closed.

SIGTERM begins with the first step. SIGINT, which ends a whole stack, and a second SIGTERM skip it.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, cast

import uvicorn

from api.http.server_scope import STOPPING
from api.server.connection import BoundedProtocol, Phase

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType

TICK_S = 0.05

SETTLE_S = 1.0
"""How long a connection that was just accepted may take to send its request."""


class GracefulServer(uvicorn.Server):
    """Serves until it is told to end, and then for `delay_s` longer."""

    def __init__(self, config: uvicorn.Config, *, delay_s: float) -> None:
        super().__init__(config)
        self._delay_s = delay_s
        self._hurried = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; the second time, or with SIGINT, without delay."""
        first_hurry = self.should_exit and not self._hurried
        self._hurried = self._hurried or self.should_exit or sig == signal.SIGINT
        if not first_hurry:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in the steps above."""
        self.lifespan.state[STOPPING] = True
        for connection in self._open():
            connection.close_after_answer()
        await self._until(lambda: self._hurried, seconds=self._delay_s)
        for server in self.servers:
            server.close()
        for connection in self._open():
            connection.stop_long_polls()
        await self._until(lambda: all(each.phase is not Phase.NEW for each in self._open()), seconds=SETTLE_S)
        await super().shutdown(sockets)

    def _open(self) -> list[BoundedProtocol]:
        return cast("list[BoundedProtocol]", list(self.server_state.connections))

    async def _until(self, done: Callable[[], bool], *, seconds: float) -> None:
        """Wait for a condition, or until the time is over. Meanwhile the date in answers is kept up to date."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + seconds
        while not done() and loop.time() < deadline_s:
            await self.on_tick(0)
            await asyncio.sleep(TICK_S)
