"""`Onsale-Time`: the server's time in every answer, by which pages show the time until a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.http.headers import Field

ONSALE_TIME = b"onsale-time"


def onsale_time() -> Field:
    """The time of this host in milliseconds since 1970, when the answer begins."""
    return ONSALE_TIME, b"%d" % (time.time_ns() // 1_000_000)
