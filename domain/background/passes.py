"""Background passes: each goes on until it is cancelled, whatever one of its rounds raises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from domain.kernel.refusals import Unavailable
from domain.store.postgres.ledger import EpochOver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

log = structlog.get_logger()

BACKOFF_S = 0.5
"""The first pause after a failure that nobody foresaw; each one after it is twice as long."""

DOUBLINGS_MAX = 16
"""Far past the longest pause; a number that is not raised for ever."""

BACKOFF_S_MAX = 8.0
"""The longest pause: a server that answers with errors of a new kind is asked again this soon."""


PUT_OFF_S_MAX = 1.0
"""The longest pause after a round that was put off: a pass that runs once a minute need not wait for a minute."""

CANCEL_AGAIN_S = 2.0
"""How long a cancelled pass may take to finish what is under way before it is cancelled again."""


async def repeat(name: str, once: Callable[[], Awaitable[object]], *, every_s: float) -> None:
    """Run one round after the other until cancelled, `every_s` apart; one that answers a float is paused after so long.

    A server that is away, or an epoch that is over, puts a round off. What nobody foresaw is logged with its traceback
    and paused after for longer each time: a pass that ended would take the others of its process with it.
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

    Once is not enough: a cancellation that arrives while a connection of redis-py is being handed out is
    sometimes lost, and the task then runs on.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
