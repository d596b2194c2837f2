"""Background passes: each repeats its round until it is cancelled, also after an exception in a round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog
from msgspec import Struct

from domain.kernel.refusals import Unavailable
from domain.store.postgres.epochs import EpochOver

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger()

Done = TypeVar("Done")

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


class Pass(Struct, Generic[Done], frozen=True):
    """A bounded round of work, and how often it runs.

    `run_once` does one round and returns what it did. `pause_s` is asked for the pause after that; None means always
    `every_s`. No round begins while `waits_while` says True.
    """

    name: str
    every_s: float
    run_once: Callable[[], Awaitable[Done]]
    pause_s: Callable[[Done], float] | None = None
    waits_while: Callable[[], bool] | None = None


async def run(work: Pass[Done]) -> None:
    """Run rounds of a pass until cancelled.

    If a server cannot be reached or the epoch is over, the round is tried again after at most PUT_OFF_S_MAX. An
    unexpected exception is logged with its traceback and followed by growing pauses. The pass must not end, because
    that would end the other passes of its process too.
    """
    failures = 0
    while True:
        if work.waits_while and work.waits_while():
            await asyncio.sleep(min(work.every_s, PUT_OFF_S_MAX))
            continue
        try:
            done = await work.run_once()
            failures = 0
            pause_s = work.pause_s(done) if work.pause_s else work.every_s
        except (Unavailable, EpochOver) as error:
            log.warning("put_off", work=work.name, cause=str(error))
            pause_s = min(work.every_s, PUT_OFF_S_MAX)
        except Exception:
            log.exception("pass_failed", work=work.name)
            pause_s = max(work.every_s, min(BACKOFF_S * 2**failures, BACKOFF_S_MAX))
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
