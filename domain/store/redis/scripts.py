"""Fenced calls of the Lua scripts: a script runs only in the epoch and on the server for which its text was made.

`domain.store.redis.fence` binds the texts. A text that Redis does not know is loaded only if the anchor of the epoch
exists, and only on the connection on which the anchor answered. A rebuild loads its own scripts before it refills the
counters, and the anchor after that. So a Redis that restarted or failed over sells nothing until recovery has begun the
next epoch, while versions with different texts can run side by side in one epoch.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import Struct
from redis.exceptions import NoScriptError, ResponseError

from domain.kernel.partitions import PARTITIONS
from domain.kernel.refusals import InventoryUnavailable
from domain.platform.coalescing import ANY_AGE, Coalesced
from domain.platform.concurrency import together
from domain.store.redis.fence import ANCHOR, JOINED_SCRIPTS, LAYOUT, OWN_SCRIPTS, FencingToken, sha1, source
from domain.store.redis.keys import dues_key, epoch_key, unpersisted_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from domain.store.redis.connection import Link
    from domain.store.redis.fence import EpochRecord
    from domain.store.redis.pipeline import Pipeline
    from domain.store.redis.server import Server

    class EpochRecords(Protocol):
        """The store of the epoch: `domain.store.postgres.epochs`."""

        async def record(self) -> EpochRecord:
            """The current epoch as PostgreSQL has it."""


log = structlog.get_logger()

FENCED = b"fenced"
"""The answer of every script outside its epoch, and on another server."""

APART = "CROSSSLOT"
"""The first word with which a node of a cluster refuses keys that may be on different nodes."""

ANCHORED = b"anchored"
"""The answer of the anchor."""

SHARED_S_MAX = 0.1
"""The maximum age of a running read of PostgreSQL that another caller joins.

On a half-open connection a read hangs for seconds; the next read uses another connection.
"""

READING_S_MAX = 2.0
"""How long a caller waits for such a read, which normally takes a millisecond."""

RUN_TRIES = 2
"""Calls of one script: after the first failed call, a missing script is loaded and called once more."""

UNKNOWN_EPOCH = 0
"""The epoch of a process that has not asked PostgreSQL yet; lower than every real epoch."""


class InventoryState(Enum):
    """The state of the inventory."""

    IN_ORDER = "ok"
    REFILLING = "sells, but some events are not refilled yet"
    OVER = "is being rebuilt"
    OUTDATED = f"has a later layout than this version's, {LAYOUT}: deploy the later version"
    WAITING = f"has an earlier layout than this version's, {LAYOUT}: a worker of this version rebuilds it"


SETTLED = frozenset({InventoryState.IN_ORDER, InventoryState.OUTDATED})
"""The states that a rebuild by this version would not improve."""


class KeysApart(Exception):
    """The keys of one call are on several nodes of a cluster; nothing was run."""


class Command(Struct, frozen=True, gc=False):
    """A script with its keys and arguments, not yet run."""

    name: str
    keys: list[str]
    args: list[Any]


class Answered(Struct, frozen=True, gc=False):
    """The answer of a script, and the epoch in which it ran."""

    words: list[Any]
    epoch: int


class Scripts:
    """Calls scripts in the epoch that this process knows, and notices when that epoch is over.

    When Redis refuses the epoch, the current one is read from PostgreSQL, which is the truth of it. The refused call
    itself is not repeated.
    """

    def __init__(self, pipeline: Pipeline, epochs: EpochRecords) -> None:
        self.pipeline = pipeline
        self._epochs = epochs
        self._apart = False
        self._token: FencingToken | None = None
        self._sha1s: dict[str, str] = {}
        self._records = Coalesced[None, "EpochRecord"](lambda _: self._learn(), joined_s_max=SHARED_S_MAX)
        self._loads = Coalesced(self._load_if_anchored, joined_s_max=ANY_AGE)
        self._seen = InventoryState.IN_ORDER
        self.epoch = UNKNOWN_EPOCH

    @property
    def token(self) -> FencingToken:
        """The token of this process' scripts; raises InventoryUnavailable when the process may not sell."""
        if self._token is None:
            raise InventoryUnavailable.rebuilding()
        return self._token

    @property
    def needs_rebuild(self) -> bool:
        """Whether a rebuild was needed or under way when this process looked last; False if it has not looked yet."""
        return self._seen not in SETTLED

    async def refresh(self) -> int:
        """Read the current epoch from PostgreSQL. Concurrent callers share one read, unless it is slow."""
        try:
            async with asyncio.timeout(READING_S_MAX):
                await self._records.of(None)
        except TimeoutError:
            raise InventoryUnavailable.rebuilding() from None
        return self.epoch

    async def call(self, name: str, keys: Sequence[str], args: Sequence[Any], *, epoch: int | None = None) -> list[Any]:
        """Run a script and return its answer.

        With `epoch`, only in that epoch: the arguments were read in it, and a later rebuild may have changed them.

        Raises:
            InventoryUnavailable: Redis does not sell in this epoch; retry after the rebuild.
            Unavailable: Redis cannot be reached.
        """
        if self._token is None:
            await self.refresh()
        token = self.token
        if epoch is not None and epoch != token.epoch:
            raise InventoryUnavailable.rebuilding()
        try:
            answer = await self._run(token, name, keys, args)
        except ResponseError as error:
            if str(error).startswith(APART):
                raise KeysApart from error
            raise InventoryUnavailable.rebuilding() from error
        if FENCED in (answer[0], answer[0][0]):
            if self._token == token:
                await self.refresh()
            raise InventoryUnavailable.rebuilding()
        return answer

    async def call_joined(self, first: Command, second: Command) -> tuple[list[Any], Answered | None]:
        """Run admit_request.lua and, if it admits, a second script in the same call; returns both answers.

        The second answer is None when the second script was not run or must be run by itself: on a cluster, account and
        event may be on different nodes, which refuse to run both.

        Raises:
            InventoryUnavailable, Unavailable: as `call`; neither was run, or that is not known.
        """
        if self._apart:
            return await self.call(first.name, first.keys, first.args), None
        args = [len(first.keys), len(first.args), *first.args, *second.args]
        epoch = self.epoch or await self.refresh()
        try:
            answers = await self.call(JOINED_SCRIPTS[second.name], [*first.keys, *second.keys], args)
        except KeysApart:
            self._apart = True
            return await self.call_joined(first, second)
        after = answers[1] if len(answers) > 1 and answers[1][0] != FENCED else None
        return answers[0], after and Answered(after, epoch)

    def begin(self, token: FencingToken) -> None:
        """Enter a new epoch, as the rebuilder that began it."""
        self._believe(token.epoch, token)

    async def load(self, token: FencingToken, names: Sequence[str], *, link: Link) -> None:
        """Load scripts into the server of this connection, in one round trip."""
        loads = (self.pipeline.call_on(link, "SCRIPT", "LOAD", source(name, token)) for name in names)
        await asyncio.gather(*loads)

    async def publish(self, token: FencingToken, *, link: Link) -> None:
        """Start sales in an epoch by loading its scripts. An event sells once its counters are refilled.

        `link` must be the connection on which the epoch was begun. The scripts refuse to run if a later epoch has
        begun.
        """
        await self.load(token, OWN_SCRIPTS, link=link)

    async def complete(self, token: FencingToken, *, link: Link) -> None:
        """Say that every counter of the epoch is refilled, by loading the anchor."""
        await self.load(token, [ANCHOR], link=link)

    async def published(self, token: FencingToken) -> Link | None:
        """A connection to a server on which this version has started sales in this epoch; None if it has not.

        A server forgets its scripts when it restarts. So it is the same server process, as long as this connection
        lasts.

        Raises:
            Unavailable: Redis cannot be asked.
        """
        link, server = await self.pipeline.primary()
        return link if await self._is_published(token, server, link) else None

    async def run_text(self, name: str, token: FencingToken, keys: list[str], args: list[Any]) -> bool:
        """Run a script of a rebuild by its text; False when a later epoch has begun, or the server is another one."""
        answer = await self.pipeline.call("EVAL", source(name, token), len(keys), *keys, *args)
        return bool(answer[0] != FENCED)

    async def look(self) -> InventoryState:
        """Whether Redis sells in the epoch of PostgreSQL, by scripts of this version, and all counters are refilled.

        It asks the server in every partition and checks that every script is loaded. In a valid epoch, missing scripts
        are loaded.

        Raises:
            Unavailable: PostgreSQL or Redis cannot be asked.
        """
        self._seen = await self._look()
        return self._seen

    async def _look(self) -> InventoryState:
        record = await self._learn()
        if record.layout != LAYOUT:
            return InventoryState.OUTDATED if record.layout > LAYOUT else InventoryState.WAITING
        link, server = await self.pipeline.primary()
        try:
            if record.server is None:
                return InventoryState.OVER
            token = self.token
            if await self._is_rebuilt(token, server, link):
                await self._load_missing(token, link)
                return InventoryState.IN_ORDER
            if await self._is_published(token, server, link):
                return InventoryState.REFILLING
        except InventoryUnavailable:
            return InventoryState.OVER
        except ResponseError as error:
            log.warning("inventory_refused", cause=str(error))
        return InventoryState.OVER

    async def _learn(self) -> EpochRecord:
        """Read the current epoch from PostgreSQL, and use it."""
        record = await self._epochs.record()
        if record.epoch >= self.epoch:
            self._believe(record.epoch, record.token)
        return record

    def _believe(self, epoch: int, token: FencingToken | None) -> None:
        self.epoch = max(self.epoch, epoch)
        if token != self._token:
            self._sha1s = {name: sha1(name, token) for name in (*OWN_SCRIPTS, ANCHOR)} if token else {}
            self._token = token

    def _sha1(self, name: str, token: FencingToken) -> str:
        """The SHA-1 of a script. Those of this process' epoch are not computed again at every look."""
        return self._sha1s[name] if token == self._token else sha1(name, token)

    async def _run(self, token: FencingToken, name: str, keys: Sequence[str], args: Sequence[Any]) -> list[Any]:
        """Run a script of this epoch. A missing script is loaded if that is allowed; else the answer is `fenced`."""
        command = ("EVALSHA", self._sha1s[name], len(keys), *keys, *args)
        for _ in range(RUN_TRIES):
            try:
                answer: list[Any] = await self.pipeline.call(*command)
            except NoScriptError:
                if not await self._loads.of(token):
                    break
            else:
                return answer
        return [FENCED]

    async def _load_if_anchored(self, token: FencingToken) -> bool:
        """Load the missing scripts if the anchor of the epoch exists; returns whether it does."""
        link = await self.pipeline.hold()
        if not await self._is_anchored(token, range(1), link):
            return False
        await self._load_missing(token, link)
        return True

    async def _is_rebuilt(self, token: FencingToken, server: Server, link: Link) -> bool:
        """Whether this is the server that was rebuilt for the epoch, in every partition."""
        return server.id == token.server and await self._is_anchored(token, range(PARTITIONS), link)

    async def _is_published(self, token: FencingToken, server: Server, link: Link) -> bool:
        """Whether the server has all scripts of this version, and sells in every partition (check_partition.lua)."""
        if server.id != token.server or await self._missing(token, link):
            return False
        called = self._sha1("check_partition", token)

        async def sells(partition: int) -> bool:
            keys = (epoch_key(partition), unpersisted_key(partition), dues_key(partition))
            answer = await self.pipeline.call_on(link, "EVALSHA", called, len(keys), *keys)
            return bool(answer[0] != FENCED)

        return all(await together(sells, range(PARTITIONS), at_once_max=PARTITIONS))

    async def _is_anchored(self, token: FencingToken, partitions: range, link: Link) -> bool:
        """Whether the server of this connection was rebuilt for the epoch and has not restarted (check_anchor.lua)."""
        called = self._sha1(ANCHOR, token)

        async def anchored(partition: int) -> bool:
            answer = await self.pipeline.call_on(link, "EVALSHA", called, 1, epoch_key(partition))
            return bool(answer[0] == ANCHORED)

        try:
            return all(await together(anchored, partitions, at_once_max=PARTITIONS))
        except NoScriptError:
            return False

    async def _load_missing(self, token: FencingToken, link: Link) -> None:
        """Load the scripts of this version that the server of this connection does not know."""
        missing = await self._missing(token, link)
        if missing:
            await self.load(token, missing, link=link)
            log.info("scripts_loaded", epoch=token.epoch, scripts=len(missing))

    async def _missing(self, token: FencingToken, link: Link) -> list[str]:
        sha1s = (self._sha1(name, token) for name in OWN_SCRIPTS)
        there = await self.pipeline.call_on(link, "SCRIPT", "EXISTS", *sha1s)
        return [name for name, known in zip(OWN_SCRIPTS, there, strict=True) if not known]
