"""Which Redis answers on a connection: a primary or a replica, and in which of its times as a primary."""

from __future__ import annotations

import re

from msgspec import Struct

INFO = ("INFO", "replication")
"""The command whose answer `Server.of` reads."""

PRIMARY = "master"
"""What Redis and Valkey call a primary in this answer."""

NOBODY = "0" * 40
"""The second replication id of a server that was never promoted."""

_LINE = re.compile(rb"^(role|master_replid|master_replid2):([^\r\n]*)", re.MULTILINE)


class Server(Struct, frozen=True):
    """A server as it tells of itself.

    `id` is its replication id. A replica has that of its primary; a primary has one of its own, made when it was
    started or promoted, and also when its first replica connects or its last one has been away for an hour.
    """

    role: str
    id: str
    former_id: str

    @classmethod
    def of(cls, info: bytes) -> Server:
        """Read the answer to INFO."""
        found = {name.decode(): value.decode() for name, value in _LINE.findall(info)}
        return cls(found.get("role", ""), found.get("master_replid", ""), found.get("master_replid2", NOBODY))

    @property
    def primary(self) -> bool:
        """Whether it takes writes."""
        return self.role == PRIMARY

    @property
    def promoted(self) -> bool:
        """Whether it was a replica before it became a primary."""
        return self.former_id != NOBODY
