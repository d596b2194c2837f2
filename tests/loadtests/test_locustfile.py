"""What the locustfile does to the libraries below it. Run in processes of their own: locust changes sockets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

IDLE_CONNECTION = """
import fcntl
import loadtests.locustfile
from geventhttpclient.connectionpool import ConnectionPool
from gevent import socket

here, there = socket.socketpair()
connection = socket.socket(fileno=fcntl.fcntl(here, fcntl.F_DUPFD, 1500))
pool = ConnectionPool("127.0.0.1", 1, "127.0.0.1", 1)
before = pool._is_socket_alive(connection)
there.close()
print(connection.fileno() >= 1024, before, pool._is_socket_alive(connection))
"""


def test_a_connection_beyond_the_first_thousand_is_used_again() -> None:
    told = subprocess.run([sys.executable, "-c", IDLE_CONNECTION], cwd=ROOT, capture_output=True, text=True, check=True)

    assert told.stdout.split() == ["True", "True", "False"]
