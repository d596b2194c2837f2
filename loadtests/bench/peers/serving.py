"""Serving another application the way the API is served, so that the two can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import api.__main__ as api_process

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(application: Callable[..., Any]) -> None:
    """Serve `application` by what `python -m api` runs: the same protocol class, loop, parser and limits of time.

    It needs the same environment; LISTEN_FD names the socket.
    """
    api_process.create_app = lambda _: application  # type: ignore[attr-defined,assignment]
    api_process.main()
