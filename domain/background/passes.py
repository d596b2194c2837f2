"""Background passes: each repeats until it is cancelled, also after an exception in one of its rounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from domain.kernel.refusals import Unavailable
from domain.store.postgres.epochs import EpochOver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

log = structlog.get_logger()

BACKOFF_S = 0.5
"""The first pause after an unexpected failure; each further pause is twice as long."""

DOUBLINGS_MAX = 16
"""The largest number of doublings: far beyond the longest pause, it only keeps the exponent bounded."""

BACKOFF_S_MAX = 8.0
"""The longest pause: a server that answers with unexpected errors is asked again after this time."""


PUT_OFF_S_MAX = 1.0
"""The longest pause after a round that could not run: a pass that runs once a minute does not wait for a minute."""

CANCEL_AGAIN_S = 2.0
"""How long a cancelled pass may take to finish the work under way before it is cancelled again."""


async def repeat(name: str, once: Callable[[], Awaitable[object]], *, every_s: float) -> None:
    """Run rounds until cancelled, with a pause of `every_s`. A round that returns a float sets its own pause.

    If a server cannot be reached or the epoch is over, the round is tried again after at most PUT_OFF_S_MAX. An
    unexpected exception is logged with its traceback and followed by growing pauses. The pass must not end, because
    that would end the other passes of its process too.
    """
    failures = 0
    while True:
        pause_s = every_s
        try:
            answer = await once()
            failures = 0
            pause_s = answer if isinstance(answer, float) else every_s
        except (Unavailable, EpochOver) as error:
            log.warning("put_off", work=name, cause=str(error))
            pause_s = min(every_s, PUT_OFF_S_MAX)
        except Exception:
            log.exception("pass_failed", work=name)
            pause_s = max(every_s, min(BACKOFF_S * 2**failures, BACKOFF_S_MAX))
            failures = min(failures + 1, DOUBLINGS_MAX)
        await asyncio.sleep(pause_s)


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended.

    One cancellation is not enough: redis-py sometimes loses a cancellation that arrives while it hands out a
    connection, and the task goes on.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
