"""The Redis server on a connection: whether it is a primary, and its replication ids."""

from __future__ import annotations

import re

from msgspec import Struct

INFO = ("INFO", "replication")
"""The command whose answer `Server.of` reads."""

PRIMARY = "master"
"""The word for a primary in this answer, in Redis and Valkey."""

NO_ID = "0" * 40
"""The second replication id of a server that was never promoted."""

_LINE = re.compile(rb"^(role|master_replid|master_replid2):([^\r\n]*)", re.MULTILINE)


class Server(Struct, frozen=True):
    """A server as its INFO describes it.

    `id` is its replication id. A replica has that of its primary. A primary has its own; a new one is made when the
    server starts or is promoted, and also when its first replica connects or its last one has been disconnected for an
    hour.
    """

    role: str
    id: str
    former_id: str

    @classmethod
    def of(cls, info: bytes) -> Server:
        """Parse the answer to INFO."""
        found = {name.decode(): value.decode() for name, value in _LINE.findall(info)}
        return cls(found.get("role", ""), found.get("master_replid", ""), found.get("master_replid2", NO_ID))

    @property
    def primary(self) -> bool:
        """Whether it is a primary, which accepts writes."""
        return self.role == PRIMARY

    @property
    def promoted(self) -> bool:
        """Whether it was a replica before it became a primary."""
        return self.former_id != NO_ID
