"""Serves another application the way the API is served, so that the two can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import api.__main__ as api_process

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(application: Callable[..., Any]) -> None:
    """Serve `application` as `python -m api` serves the API: same protocol class, loop, parser and timeouts.

    It needs the same environment; LISTEN_FD is the socket.
    """
    api_process.create_app = lambda _: application  # type: ignore[attr-defined,assignment]
    api_process.main()
