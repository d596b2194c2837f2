"""The connection that all calls of a process share."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from redis.exceptions import NoScriptError, ResponseError

from domain.kernel.refusals import Unavailable
from domain.store.redis import pipeline as pipelines
from domain.store.redis.connection import TOGETHER_MAX
from domain.store.redis.pipeline import Pipeline
from tests.waiting import eventually


async def test_calls_made_together_are_answered_each_with_its_own(stores):
    echoes = await asyncio.gather(*(stores.pipeline.call("ECHO", number) for number in range(3_000)))
    assert echoes == [str(number).encode() for number in range(3_000)]


async def test_an_error_reaches_the_call_that_made_it_and_no_other(stores):
    answers = await asyncio.gather(
        stores.pipeline.call("ECHO", "before"),
        stores.pipeline.call("EVALSHA", "0" * 40, 0),
        stores.pipeline.call("ECHO", "after"),
        return_exceptions=True,
    )
    assert answers[0] == b"before"
    assert isinstance(answers[1], NoScriptError)
    assert answers[2] == b"after"


async def test_a_caller_that_leaves_takes_nobodys_answer_along(stores):
    leaving = asyncio.create_task(stores.pipeline.call("ECHO", "mine"))
    staying = asyncio.create_task(stores.pipeline.call("ECHO", "yours"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == b"yours"


async def test_a_broken_connection_fails_who_waits_and_the_next_call_has_a_new_one(stores):
    await stores.pipeline.call("PING")
    first = asyncio.create_task(stores.pipeline.call("BLPOP", "nobody puts anything here", 0))
    waiting = [first, *(asyncio.create_task(stores.pipeline.call("ECHO", number)) for number in range(10))]
    await eventually(lambda: _blocked(stores))
    stores.pipeline._link._transport.abort()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert await stores.pipeline.call("ECHO", "again") == b"again"


async def test_a_redis_that_stays_silent_is_given_up(stores, monkeypatch):
    monkeypatch.setattr(pipelines, "SOCKET_TIMEOUT_S", 0.2)
    url = str(stores.pipeline.redis.connection_pool.connection_kwargs["path"])
    impatient = Pipeline(f"unix://{url}")
    try:
        await impatient.call("PING")
        with pytest.raises(Unavailable):
            await impatient.call("BLPOP", "nobody puts anything here", 0)
    finally:
        await impatient.close()


async def test_more_calls_than_may_wait_are_refused(stores, monkeypatch):
    monkeypatch.setattr(pipelines, "WAITING_MAX", 100)
    answers = await asyncio.gather(*(stores.pipeline.call("PING") for _ in range(150)), return_exceptions=True)
    assert sum(answer == b"PONG" for answer in answers) == 100
    assert sum(isinstance(answer, Unavailable) for answer in answers) == 50


async def test_a_crowd_that_finds_no_redis_shares_one_attempt():
    lost = Pipeline("redis://127.0.0.1:9")
    try:
        answers = await asyncio.gather(*(lost.call("PING") for _ in range(200)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
    finally:
        await lost.close()


async def test_a_call_on_a_connection_that_was_closed_fails_at_once(stores):
    await stores.pipeline.call("PING")
    link = stores.pipeline._link
    link.end(ConnectionError("gone"))
    assert isinstance(await asyncio.wait_for(link.send(("PING",)), 30), ConnectionError)


async def test_a_crowd_does_not_keep_redis_waiting_until_it_is_whole(stores):
    """Commands leave sixteen at a time, in their order, and what is left of a turn with the next."""
    await stores.pipeline.call("PING")
    link = stores.pipeline._link
    writes, write = [], link._transport.write
    link._transport = SimpleNamespace(
        write=lambda data: writes.append(data) or write(data), abort=link._transport.abort
    )

    answers = await asyncio.gather(*(link.send(("ECHO", number)) for number in range(40)))

    assert answers == [b"%d" % number for number in range(40)]
    assert [data.count(b"ECHO") for data in writes] == [TOGETHER_MAX, TOGETHER_MAX, 40 - 2 * TOGETHER_MAX]


async def _blocked(stores):
    return (await stores.pipeline.redis.info("clients"))["blocked_clients"]


STATES = [
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Valkey is configured to save RDB snapshots",
    "LOADING Valkey is loading the dataset in memory",
    "BUSY Valkey is busy running a script.",
]


@pytest.mark.parametrize("state", STATES)
async def test_an_error_that_tells_of_the_server_is_one_to_try_again_after(answering, state):
    calls, pipeline = answering(state)

    with pytest.raises(Unavailable):
        await pipeline.call("GET", "key")
    assert await pipeline.call("GET", "key") == b"kept"
    assert calls.connections == 1


@pytest.mark.parametrize("state", ["READONLY You can't write against a read only replica.", "MASTERDOWN Link is down"])
async def test_an_error_that_only_a_replica_answers_ends_the_connection(answering, state):
    calls, pipeline = answering(state)

    with pytest.raises(Unavailable):
        await pipeline.call("GET", "key")
    assert await pipeline.call("GET", "key") == b"kept"
    assert calls.connections == 2


async def test_an_error_of_the_command_itself_is_the_callers(stores):
    with pytest.raises(ResponseError):
        await stores.pipeline.call("HGET", "key")


class Answering:
    """A server that answers the first GET with an error, and every other with a value."""

    def __init__(self):
        self.connections = 0
        self.errors = []

    async def serve(self, reader, writer):
        self.connections += 1
        while header := await reader.readline():
            words = []
            for _ in range(int(header[1:])):
                await reader.readline()
                words.append((await reader.readline()).strip())
            writer.write(self._answer(words))
        writer.close()

    def _answer(self, words):
        if words[0] == b"INFO":
            info = b"role:master\r\nmaster_replid:" + b"1" * 40 + b"\r\n"
            return b"$%d\r\n%s\r\n" % (len(info), info)
        if words[0] != b"GET":
            return b"+OK\r\n"
        return b"-" + self.errors.pop().encode() + b"\r\n" if self.errors else b"$4\r\nkept\r\n"


@pytest.fixture
async def answering(tmp_path):
    path = tmp_path / "answering.sock"
    calls, pipeline = Answering(), Pipeline(f"unix://{path}")
    server = await asyncio.start_unix_server(calls.serve, path)

    def answer_with(error):
        calls.errors = [error]
        return calls, pipeline

    yield answer_with
    await pipeline.close()
    server.close()
    await server.wait_closed()
