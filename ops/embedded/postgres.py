"""The embedded PostgreSQL: binaries from a wheel, one folder of data, a private socket and no TCP port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from ops.embedded.binaries import postgres_for, postgres_major
from ops.embedded.folders import make_folders
from ops.embedded.server import EmbeddedServer, ServerFailed
from ops.supervision.launcher import launcher

ROLE = "onsale"
"""Owner of the cluster and of the database of the same name."""

INITDB_TIMEOUT_SECONDS = 120
"""A new cluster takes one second, much longer on a slow disk that syncs each file."""

BUILTIN_LOCALE_MAJOR_MIN = 17
"""The first PostgreSQL with a built-in C.UTF-8: plain order, Unicode upper and lower case."""

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    # Holds a million bookings with their indexes; with 128 MB, every batch read and wrote them.
    "shared_buffers": "512MB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "cluster_name": "onsale",
}
"""A small server that keeps every acknowledged write."""

THROWAWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
}
"""For tests: nothing survives a power cut, and parallel tests have enough connections."""


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL on `data_dir/postgres`; starts on a folder in any state, also after kill -9."""

    name = "postgres"
    death_signal = signal.SIGQUIT
    stop_signal = signal.SIGINT

    def url(self, database: str = ROLE) -> str:
        """Return the URL of `database` on this server; valid before, during and after its life."""
        return f"postgresql://{ROLE}@/{database}?host={self.folders.sockets}"

    @property
    def pgdata(self) -> Path:
        """The cluster's own folder."""
        return self.folders.data / "postgres"

    def prepare(self) -> None:
        """Make the cluster and its database in another folder, and rename that when it is complete."""
        if self.pgdata.exists():
            return
        unfinished = self.pgdata.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        user = self.user()
        if user is not None:
            os.chown(unfinished, *user)
        try:
            self._fill(unfinished)
        except BaseException:
            # A full disk needs its 40 MB.
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        unfinished.rename(self.pgdata)

    def _fill(self, unfinished: Path) -> None:
        bin_dir = postgres_for(unfinished)
        self._run([bin_dir / "initdb", "-D", unfinished, *self._initdb_options(bin_dir)])
        # Single-user mode makes the database before any server has run. It ends with 0 even if the statement failed, so
        # the database is looked for afterwards.
        single: list[str | Path] = [bin_dir / "postgres", "--single", *self._durability(), "-D", unfinished]
        self._run([*single, "postgres"], f"CREATE DATABASE {ROLE} OWNER {ROLE};\n")
        said = self._run([*single, ROLE], "SELECT current_database();\n")
        if f'current_database = "{ROLE}"' not in said:
            message = f"a new PostgreSQL folder could not be made:\n{said}"
            raise ServerFailed(message)

    def make(self) -> None:
        """Make the cluster and its database without starting the server; does nothing if they are there."""
        make_folders(self.folders)
        self.prepare()

    def command(self) -> list[str | Path]:
        """Return the postmaster's command line; its settings override those in the folder."""
        settings = SETTINGS | {"unix_socket_directories": str(self.folders.sockets)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [postgres_for(self.pgdata) / "postgres", "-D", self.pgdata, *options, *self._durability()]

    def ready(self) -> bool:
        """Read the state that the postmaster writes to its pid file, as pg_ctl does."""
        try:
            lines = (self.pgdata / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[0:1] == [str(self.pid)] and [line.strip() for line in lines[7:8]] == ["ready"]

    def user(self) -> tuple[int, int] | None:
        """Return the user for PostgreSQL, which refuses root: the owner of its folder, at first `nobody`."""
        if os.geteuid() != 0:
            return None
        if self.pgdata.exists():
            owner = self.pgdata.stat()
            return owner.st_uid, owner.st_gid
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid

    def stale(self) -> list[Path]:
        """Return pid files and sockets: their pids may belong to other processes by now."""
        socket = self.folders.sockets / ".s.PGSQL.5432"
        return [self.pgdata / "postmaster.pid", socket, Path(f"{socket}.lock")]

    def _initdb_options(self, bin_dir: Path) -> list[str]:
        locale = ["--locale=C"]
        if postgres_major(bin_dir) >= BUILTIN_LOCALE_MAJOR_MIN:
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # No password: only the stack's owner may enter the socket's folder.
        options = ["--username", ROLE, "--auth=trust", "--encoding=UTF8", "--data-checksums", *locale]
        return options if self.durable else [*options, "--no-sync"]

    def _durability(self) -> list[str]:
        return [] if self.durable else [f"--{name}={value}" for name, value in THROWAWAY_SETTINGS.items()]

    def _run(self, program: list[str | Path], stdin: str = "") -> str:
        command = launcher(program, death_signal=signal.SIGKILL, user=self.user())
        try:
            done = subprocess.run(
                command,
                input=stdin,
                cwd=self.folders.data,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=INITDB_TIMEOUT_SECONDS,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            message = f"a new PostgreSQL folder was not made within {INITDB_TIMEOUT_SECONDS} s"
            raise ServerFailed(message) from error
        if done.returncode != 0:
            message = f"a new PostgreSQL folder could not be made:\n{done.stdout}"
            raise ServerFailed(message)
        return done.stdout
