#!/bin/sh
# Litestar hands every guard a new copy of the route handler with each request, so a cache keyed by the handler leaks.
#
# Version: litestar 2.25.0, called through its own test client.
# Valid input: an application with one route and one guard; the guard keeps a functools.cache keyed by its second argument.
# Expectation: the handler is an object of the application, made once at start, so such a cache has one entry per route.
# Behaviour: the argument is copy.copy(handler), made anew for each request and each guard. Copies have no equality of
#   their own, so the cache grows by one entry with every request, and each entry keeps its copy alive. What was derived
#   from the handler is derived again every time. connection.route_handler is the one object of the application.
# Output seen on 28 November 2026:
#   100 requests: 100 entries by the guard's argument, 1 entry by connection.route_handler
# Exits non-zero when the behaviour changes. Needs Python 3.11 or newer and pip.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check 'litestar==2.25.0' 'httpx==0.28.1'

cat >guards.py <<'PYTHON'
import sys
from functools import cache

from litestar import get
from litestar.testing import create_test_client

REQUESTS = 100


@cache
def of_argument(handler):
    return handler.name


@cache
def of_connection(handler):
    return handler.name


def guard(connection, handler):
    of_argument(handler)
    of_connection(connection.route_handler)


@get("/", guards=[guard])
async def root() -> str:
    return "here"


with create_test_client([root], logging_config=None) as client:
    for _ in range(REQUESTS):
        assert client.get("/").status_code == 200

argument, connection = of_argument.cache_info().currsize, of_connection.cache_info().currsize
print(f"{REQUESTS} requests: {argument} entries by the guard's argument, {connection} entry by connection.route_handler")
sys.exit(0 if (argument, connection) == (REQUESTS, 1) else 1)
PYTHON
venv/bin/python guards.py
