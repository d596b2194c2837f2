"""Runs one API process: `python -m api`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress

import uvicorn

from api.app import create_app
from api.server.connection import BoundedProtocol
from api.server.graceful_shutdown import GracefulServer
from domain.platform.logs import configure_logs
from domain.platform.settings import SettingsRefused, load_settings
from domain.store.readiness import refuse_forgetful_inventory

BACKLOG = 2048
"""Connections that may wait while every process is busy: a rush arrives within a second."""

KEEP_ALIVE_S = 75
"""Longer than the 60 s of common proxies, so that the proxy closes an idle connection first."""

DRAIN_S = 10
"""How long requests under way may take at the end. Long polls and streams are ended at once."""


def main() -> None:
    """Serve on the inherited socket, or on HOST and PORT, until told to end (`api/server/graceful_shutdown.py`)."""
    settings = load_settings()
    configure_logs(settings)
    asyncio.run(refuse_forgetful_inventory(settings))
    config = uvicorn.Config(
        create_app(settings),
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        host=settings.host,
        port=settings.port,
        backlog=BACKLOG,
        lifespan="on",
        server_header=False,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    with suppress(KeyboardInterrupt):
        # The server raises the signals that ended it again once it has ended.
        GracefulServer(config, delay_s=settings.shutdown_delay_seconds).run(sockets=_inherited())


def _inherited() -> list[socket.socket] | None:
    """The listening socket whose descriptor LISTEN_FD names, None without that variable."""
    number = os.environ.get("LISTEN_FD")
    return [socket.socket(fileno=int(number))] if number else None


if __name__ == "__main__":
    try:
        main()
    except SettingsRefused as refused:
        sys.exit(str(refused))
