#!/bin/sh
# locust's FastHttpUser sends a GET or DELETE whose answer was lost twelve times, and counts one request.
#
# Versions: locust 2.47.0, geventhttpclient 2.6.1, gevent 26.9.0.
# Valid input: a server that reads a whole request and closes the connection without an answer, as one does that is
#   killed at this moment. max_retries is 0, its default.
# Expectation: max_retries = 0 means one request, or locust's statistics count what was sent. A load test that counts
#   the server's work by them is wrong by a factor of twelve exactly when the server is in trouble, and a DELETE that
#   was carried out is carried out again.
# Behaviour: geventhttpclient's HTTPClient.request() starts with attempts_left = pool size + 1 and sends again whatever
#   is idempotent; locust's pool has a size of 10 (`concurrency`). Twelve requests arrive, one is counted.
#   concurrency = 1 makes it three. A POST is sent once.
# Output seen on 28 November 2026:
#   concurrency 10: GET sent 12 counted 1
#   concurrency 10: DELETE sent 12 counted 1
#   concurrency 10: POST sent 1 counted 1
#   concurrency 1: GET sent 3 counted 1
# Exits non-zero when the behaviour changes. Needs Python 3.11 or newer and pip.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
    locust==2.47.0 geventhttpclient==2.6.1 gevent==26.9.0

cat >ask.py <<'PYTHON'
from locust import FastHttpUser
from locust.env import Environment
from gevent.server import StreamServer

received = []


def lose(connection, _address):
    with connection.makefile("rb") as lines:
        method = lines.readline().split()[0].decode()
        while lines.readline().strip():
            pass
    received.append(method)


server = StreamServer(("127.0.0.1", 0), lose)
server.start()


def ask(method, pool):
    class User(FastHttpUser):
        host = f"http://127.0.0.1:{server.server_port}"
        concurrency = pool

    environment = Environment(user_classes=[User])
    counted = []
    environment.events.request.add_listener(lambda **told: counted.append(told["request_type"]))
    received.clear()
    User(environment).client.request(method, "/")
    print(f"concurrency {pool}: {method} sent {len(received)} counted {len(counted)}")


for method in ("GET", "DELETE", "POST"):
    ask(method, 10)
ask("GET", 1)
PYTHON

cat >expected <<'TEXT'
concurrency 10: GET sent 12 counted 1
concurrency 10: DELETE sent 12 counted 1
concurrency 10: POST sent 1 counted 1
concurrency 1: GET sent 3 counted 1
TEXT

venv/bin/python ask.py 2>errors >seen || { cat errors; exit 1; }
cat seen
diff expected seen
