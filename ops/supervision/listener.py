"""The socket that the API processes share, bound before anything is started."""

from __future__ import annotations

import errno
import socket
import time

BACKLOG = 2048
"""Connections that wait while no API process accepts, during a rush or a restart."""

BIND_PATIENCE_SECONDS = 1.0
"""A stack that was just killed releases the port within this time."""

BIND_POLL_SECONDS = 0.05
"""Between two attempts."""


class PortTaken(Exception):
    """Another program listens on the port; `str()` says what to do."""


class AddressRefused(Exception):
    """The address cannot be listened on; `str()` says why."""


def listen(host: str, port: int) -> socket.socket:
    """Listen on `host` and `port`.

    Raises:
        PortTaken: the port is in use.
        AddressRefused: the host is no address of this machine, or the port needs more rights.
    """
    deadline = time.monotonic() + BIND_PATIENCE_SECONDS
    while True:
        try:
            return _bind(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                message = f"cannot listen on {host}, port {port}: {error.strerror or error}; set HOST and PORT"
                raise AddressRefused(message) from error
            if time.monotonic() > deadline:
                message = f"port {port} is taken by another program; choose another one: PORT={_other(port)} make run"
                raise PortTaken(message) from error
        time.sleep(BIND_POLL_SECONDS)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _other(port: int) -> int:
    return port + 1 if port < 65535 else 8001  # noqa: PLR2004 - the highest port there is.
