"""The changes of the locustfile to its libraries, in their own processes, because locust changes sockets."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.processes import ROOT

IDLE_CONNECTION = """
import fcntl
import loadtests.sales.locustfile
from geventhttpclient.connectionpool import ConnectionPool
from gevent import socket

here, there = socket.socketpair()
connection = socket.socket(fileno=fcntl.fcntl(here, fcntl.F_DUPFD, 1500))
pool = ConnectionPool("127.0.0.1", 1, "127.0.0.1", 1)
before = pool._is_socket_alive(connection)
there.close()
print(connection.fileno() >= 1024, before, pool._is_socket_alive(connection))
"""

LOST_ANSWERS = """
import json
from gevent.server import StreamServer
from locust.env import Environment
from loadtests.sales.locustfile import Buyer

received = []

def lose(connection, _):
    with connection.makefile("rb") as lines:
        method = lines.readline().split()[0].decode()
        while lines.readline().strip():
            pass
    received.append(method)

server = StreamServer(("127.0.0.1", 0), lose)
server.start()
environment = Environment(user_classes=[Buyer])
counted = []
environment.events.request.add_listener(lambda request_type, **_: counted.append(request_type))
Buyer.host = f"http://127.0.0.1:{server.server_port}"
buyer = Buyer(environment)
for method in ("GET", "DELETE", "POST"):
    buyer.client.request(method, "/api/v1/bookings")
print(json.dumps([received, counted]))
"""
"""A server that reads each request and closes the connection, like a server that is killed."""


def test_a_request_whose_answer_was_lost_was_sent_as_often_as_it_is_counted() -> None:
    told = subprocess.run([sys.executable, "-c", LOST_ANSWERS], cwd=ROOT, capture_output=True, text=True, check=True)

    received, counted = json.loads(told.stdout)
    assert received == counted == ["GET", "DELETE", "POST"]


def test_a_connection_beyond_the_first_thousand_is_used_again() -> None:
    told = subprocess.run([sys.executable, "-c", IDLE_CONNECTION], cwd=ROOT, capture_output=True, text=True, check=True)

    assert told.stdout.split() == ["True", "True", "False"]
