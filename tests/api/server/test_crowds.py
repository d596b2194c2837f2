"""500 hostile connections do not disturb other callers."""

from __future__ import annotations

import asyncio
import time
from itertools import cycle, islice

import httpx

from tests.api.server.wires import HOST, hang_up

CROWD = 500

HONEST = 100

HONEST_S_MAX = 2.0
"""On a busy machine; without the crowd it is some milliseconds."""

SENT_AWAY_S_MAX = 20.0
"""The longest deadline is ten seconds from the end of the header."""

PIECE = b"A: " + b"b" * 997 + b"\r\n"

BEGUN = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: onsale.test\r\n"

KINDS = {
    "silent": b"",
    "half a header": b"GET / HTTP/1.1\r\nHost: ons",
    "a header that drips": BEGUN,
    "a header without end": BEGUN + PIECE * 20,
    "a thousand fields": BEGUN + b"A: b\r\n" * 1_000,
    "a bad host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a body that does not come": BEGUN + b"Content-Length: 9\r\n\r\n",
    "a body that drips": BEGUN + b"Content-Length: 60000\r\n\r\n{",
    "a body too large": BEGUN + b"Connection: close\r\nContent-Length: 70000\r\n\r\n" + b" " * 70_000,
    "a pipeline and half a request": b"GET /health/live HTTP/1.1\r\nHost: onsale.test\r\n\r\n" * 20 + BEGUN,
}
DRIPS = {"a header that drips": b"A: b\r\n", "a body that drips": b" ", "a header without end": PIECE * 64}
"""What they send twice a second, the last of them 128 KiB/s until it is stopped, far before 64 MB."""


async def _misbehave(port, kind):
    """Hold a connection as long as it can be held; answers for how many seconds that was."""
    began_s = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, port)
    dripping = asyncio.create_task(_drip(writer, DRIPS[kind])) if kind in DRIPS else None
    try:
        writer.write(KINDS[kind])
        while await reader.read(65_536):
            pass
    except ConnectionError:
        pass
    finally:
        if dripping:
            dripping.cancel()
        await hang_up(writer)
    return time.monotonic() - began_s


async def _drip(writer, drop):
    while not writer.is_closing():
        await asyncio.sleep(0.5)
        writer.write(drop)


async def test_500_slow_and_oversized_callers_are_sent_away_and_nobody_else_notices(clean, processes, capsys):  # noqa: ARG001
    """S20: each within its deadline, while honest callers are answered as ever."""
    api = processes.api(RATE_LIMITS="off")
    port = httpx.URL(api.url).port
    crowd = [asyncio.create_task(_misbehave(port, kind)) for kind in islice(cycle(KINDS), CROWD)]
    await asyncio.sleep(1)
    honest_s = []
    async with httpx.AsyncClient(base_url=api.url, timeout=10) as client:
        for _ in range(HONEST):
            began_s = time.monotonic()
            assert (await client.get("/api/v1/events")).status_code == 200
            honest_s.append(time.monotonic() - began_s)
            await asyncio.sleep(0.02)

    held_s = await asyncio.wait_for(asyncio.gather(*crowd), 60)

    with capsys.disabled():
        print(f"\nheld for {max(held_s):.1f} s at most; honest p99 {sorted(honest_s)[-2] * 1000:.1f} ms")  # noqa: T201
    assert max(held_s) < SENT_AWAY_S_MAX
    assert max(honest_s) < HONEST_S_MAX
