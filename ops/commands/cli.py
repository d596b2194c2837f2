"""The operator's command line: `onsale up`, and what an operator does beside a running system."""

from __future__ import annotations

import asyncio
import functools
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from domain.platform.settings import SettingsRefused, load_settings
from ops.embedded.binaries import BinaryMissing
from ops.embedded.folder_lock import AlreadyRunning
from ops.embedded.folders import FolderRefused
from ops.embedded.server import ServerFailed
from ops.supervision.listener import AddressRefused, PortTaken
from ops.supervision.procfile import ProcfileRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from domain.background.audit import EventBooks
    from domain.background.reconciling import ConfirmedDifference
    from domain.engine import Stores
    from domain.platform.settings import Settings

SETTINGS_EXIT_CODE = 2
"""The settings are wrong; nothing was done."""

FAILED_EXIT_CODE = 1
"""The command failed, or the audit found drift."""

TITLE_WIDTH = 40
"""Characters of an event's title in an audit."""

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def _plainly(command: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Report an error that an operator can fix as one line; tracebacks are for bugs."""

    @functools.wraps(command)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        try:
            return command(*args, **kwargs)
        except SettingsRefused as refused:
            click.echo(str(refused), err=True)
            sys.exit(SETTINGS_EXIT_CODE)
        except _refusals() as refused:
            click.echo(f"onsale: {refused}", err=True)
            sys.exit(FAILED_EXIT_CODE)
        except BrokenPipeError:
            # Nobody reads the output any more; click ends the command silently.
            raise
        except OSError as failed:
            click.echo(f"onsale: {_os_line(failed)}", err=True)
            sys.exit(FAILED_EXIT_CODE)

    return run


def _refusals() -> tuple[type[Exception], ...]:
    from domain.kernel.refusals import Refusal
    from migrations.upgrade import SchemaRefused
    from ops.commands.accounts import AdminRefused, SessionsUntold
    from ops.commands.demo import DemoRefused
    from ops.commands.rotate_keys import RotationRefused
    from ops.commands.servers import StackAbsent, StillStarting
    from ops.commands.up import StartFailed
    from ops.embedded.private_files import FileBroken

    start = (AlreadyRunning, PortTaken, AddressRefused, ProcfileRefused, StartFailed, StackAbsent, StillStarting)
    servers = (ServerFailed, BinaryMissing, FolderRefused, FileBroken, SchemaRefused)
    return (*start, *servers, AdminRefused, SessionsUntold, DemoRefused, RotationRefused, Refusal, TimeoutError)


def _os_line(failed: OSError) -> str:
    where = f"{failed.filename}: " if failed.filename else ""
    hint = "; was it made by another user?" if isinstance(failed, PermissionError) else ""
    return f"{where}{failed.strerror or failed}{hint}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("onsale"), prog_name="onsale")
def main() -> None:
    """Onsale: every ticket sold once, no acknowledged booking lost.

    Settings come from the environment. With DATABASE_URL, REDIS_URL and QUEUE_URL, every command uses those
    servers. Without them it uses the embedded PostgreSQL and Valkey of DATA_DIR (default: .data), and starts
    them if `onsale up` is not running. Only `onsale up` makes a new stack; every other command refuses a
    DATA_DIR without one.
    """


@main.command()
@click.option("--end-with-parent", is_flag=True, help="Stop when the process that started this one ends.")
@_plainly
def up(*, end_with_parent: bool) -> None:
    """Run the whole system until Ctrl-C.

    Starts PostgreSQL and Valkey unless their URLs are set, migrates, makes demo data at the first start, and starts
    the processes of the Procfile: API_PROCESSES of `api` and WORKER_PROCESSES of `worker`. A process that dies is
    restarted. A second `up` on the same DATA_DIR says where the first one runs. Exit code 2: a setting is wrong.
    """
    from ops.commands import up as running

    if end_with_parent:
        running.end_with_parent()
    running.up(load_settings(), running.Plan())


@main.command()
@_plainly
def migrate() -> None:
    """Migrate the database to the schema of this code."""
    from migrations.upgrade import migrate as run_migrations
    from ops.commands.servers import reached

    with reached(load_settings()) as settings:
        run_migrations(_database_url(settings))


@main.command("create-admin")
@click.option("--email", required=True, metavar="E", help="The address that the administrator logs in with.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@_plainly
def create_admin(*, email: str, password_stdin: bool) -> None:
    """Make an administrator; the only way to make the first one.

    The password is asked for, or read from standard input, and never taken from the command line, where every
    user of the machine could see it.
    """
    from ops.commands.accounts import create_admin as create

    password = _password(from_stdin=password_stdin)
    account, place = _with_stores(lambda stores, _: create(stores, email=email, password=password))
    click.echo(f"{account.email} is an administrator of {place} (id {account.id})")


@main.command("set-password")
@click.option("--email", required=True, metavar="E", help="The address of the account.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@_plainly
def set_password(*, email: str, password_stdin: bool) -> None:
    """Set the password of an account, e.g. when it was forgotten; works for administrators too.

    Ends every session of the account at once. A banned account stays banned.
    """
    from ops.commands.accounts import set_password as give

    password = _password(from_stdin=password_stdin)
    account, _ = _with_stores(lambda stores, _: give(stores, email=email, password=password))
    click.echo(f"{account.email} has a new password; its sessions have ended (role {account.role}, {account.status})")


@main.command("rotate-keys")
@click.option("--drop-old", is_flag=True, help="Reject the old keys at once, e.g. after a leak: ends every session.")
@_plainly
def rotate_keys(*, drop_old: bool) -> None:
    """Sign tokens with a new key from now on; tokens of the old keys are accepted until they expire.

    Writes JWT_KEYS_FILE, which every process must be able to read; for the embedded stack, keys.json in DATA_DIR.
    Running processes follow within a second. The old keys are accepted until the last session in PostgreSQL has ended,
    so that nobody is logged out, unless --drop-old is given.
    """
    from ops.commands.rotate_keys import rotate_ring

    path, ring = rotate_ring(load_settings(), drop_old=drop_old, say=functools.partial(click.echo, err=True))
    click.echo(f"{ring[0].kid} signs from now on, for every process that reads {path}")
    for key in ring[1:]:
        click.echo(
            f"{key.kid} is accepted until {datetime.fromtimestamp(key.retires_s or 0, tz=UTC):%Y-%m-%d %H:%M} UTC"
        )


@main.command()
@_plainly
def demo() -> None:
    """Make demo accounts and events once, and print how to log in and book.

    Passwords are random and kept in DATA_DIR/demo.json; later runs print those that still work.
    """
    from domain.sales.events import Payment
    from ops.commands.demo import describe, make_demo
    from ops.embedded.folder_lock import holder_of
    from ops.supervision.readiness import base_url

    settings = load_settings()
    payment = Payment.TEST if settings.embedded or settings.test_payments == "on" else Payment.EXTERNAL
    made, _ = _with_stores(lambda stores, settings: make_demo(stores, settings.data_dir, payment=payment))
    # The running stack may have another port than this command.
    holder = holder_of(settings.data_dir) if settings.embedded else None
    port = (holder and holder.port) or settings.port
    click.echo(describe(made, base_url=f"{base_url(settings.host, port)}/api/v1"))


@main.command()
@click.option("--event", "event_id", type=click.UUID, metavar="ID", help="Only this event.")
@click.option("--fix", is_flag=True, help="Repair the differences first, and list them.")
@_plainly
def audit(*, event_id: UUID | None, fix: bool) -> None:
    """Compare every event's books in the inventory and in PostgreSQL; exit code 1 if they differ."""
    from domain.background.audit import audit as run_audit
    from domain.background.reconciling import reconcile

    async def work(stores: Stores, _: Settings) -> tuple[list[ConfirmedDifference], list[EventBooks]]:
        outcomes = await reconcile(stores, event_id) if fix else []
        return outcomes, await run_audit(stores, event_id)

    (outcomes, books), place = _with_stores(work)
    for outcome in outcomes:
        click.echo(_repair_line(outcome))
    click.echo(_audit_table(books, place))
    if not all(event.in_order for event in books):
        sys.exit(FAILED_EXIT_CODE)


@main.command()
@_plainly
def zones() -> None:
    """List the events to come that start at another instant by the installed rules of time zones.

    Use it after an upgrade that brings new rules (the package tzdata). Such an event still starts at the instant that
    was computed before. To move it to its local time, send that time again: PATCH {"starts_at_local": ...}. Exit code
    1 if there are such events.
    """
    from ops.commands.zones import described, moved_events

    (moved, compared), place = _with_stores(lambda stores, _: moved_events(stores, now=datetime.now(UTC)))
    click.echo(described(moved, compared, place))
    if moved:
        sys.exit(FAILED_EXIT_CODE)


@main.command()
@click.option("--seconds", default=60.0, show_default=True, help="Duration of the faults of each trial.")
@click.option("--seed", default=1, show_default=True, help="The first seed; the same seed makes the same faults.")
@click.option("--seeds", default=1, show_default=True, help="Number of seeds, one after the other.")
@click.option("--durability", type=click.Choice(["redis", "postgres"]), multiple=True, help="Default: both.")
@click.option("--recovery", is_flag=True, help="Also measure how soon sales resume.")
@_plainly
def chaos(*, seconds: float, seed: int, seeds: int, durability: tuple[str, ...], recovery: bool) -> None:
    """Break a throw-away stack while buyers use it, and check every promise that they were given.

    Needs the dev packages. Leaves report.json, and the logs of broken trials, in DATA_DIR/chaos. Exit code 1 if a
    promise was broken.
    """
    from ops.chaos.campaign import run_campaign

    kept = run_campaign(
        load_settings().data_dir / "chaos",
        seeds=range(seed, seed + seeds),
        seconds=seconds,
        durabilities=durability or ("redis", "postgres"),
        recovery=recovery,
        say=click.echo,
    )
    if not kept:
        sys.exit(FAILED_EXIT_CODE)


@main.command()
@click.argument("names", nargs=-1)
@_plainly
def controls(*, names: tuple[str, ...]) -> None:
    """Take protections of the engine away one by one, and show that `onsale chaos` notices each; exit code 1 if not.

    NAMES are protections; by default all of them.
    """
    from ops.chaos.controls import CONTROLS, run_all

    chosen = [control for control in CONTROLS if not names or control.name in names]
    if len(chosen) < len(set(names)):
        message = f"the controls are {', '.join(control.name for control in CONTROLS)}"
        raise click.BadParameter(message)
    if not run_all(chosen, load_settings().data_dir / "chaos" / "controls", say=click.echo):
        sys.exit(FAILED_EXIT_CODE)


@main.command()
@click.option("--dev", is_flag=True, help="Include packages that only development needs.")
@_plainly
def licences(*, dev: bool) -> None:
    """List the licence of every locked package; exit code 1 if one is unknown or not allowed.

    Reads the locks beside this code and the metadata of the installed packages. Without a lock, as in the image, it
    lists every installed package.
    """
    from ops.commands.licences import DEV_LOCK, RUNTIME_LOCK, installed_licences, table
    from ops.commands.licences import licences as read_licences

    lock = DEV_LOCK if dev else RUNTIME_LOCK
    found = read_licences(lock) if dev or lock.exists() else installed_licences()
    click.echo(table(found))
    if not all(each.allowed for each in found):
        sys.exit(FAILED_EXIT_CODE)


def _password(*, from_stdin: bool) -> str:
    """Read a password in a way that no other user of the machine can see."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return asked


def _with_stores(work: Callable[[Stores, Settings], Awaitable[Answer]]) -> tuple[Answer, str]:
    """Run `work` on the stores; returns its result and the place: a folder or a database.

    An embedded database is migrated first; another one is its operator's to migrate.
    """
    from domain.background.rebuilding import ensure_in_order
    from domain.engine import open_stores
    from migrations.upgrade import migrate as run_migrations
    from ops.commands.servers import reached

    async def run(settings: Settings) -> Answer:
        async with open_stores(settings) as stores:
            if given.embedded:
                # Valkey may have been started for this command alone, without a worker.
                await ensure_in_order(stores)
            return await work(stores, settings)

    _log_warnings_only()
    given = load_settings()
    with reached(given) as settings:
        if given.embedded:
            run_migrations(_database_url(settings))
        return asyncio.run(run(settings)), _place_of(given)


def _place_of(settings: Settings) -> str:
    """The place that a command works on, to print: a folder, or a database without its password."""
    from sqlalchemy import make_url

    if settings.embedded:
        return str(settings.data_dir.absolute())
    return make_url(_database_url(settings)).render_as_string(hide_password=True)


def _log_warnings_only() -> None:
    import logging

    import structlog

    structlog.configure(
        # Tracebacks without local variables, which hold passwords.
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _database_url(settings: Settings) -> str:
    if settings.database_url is None:
        message = "DATABASE_URL: is not set"
        raise SettingsRefused(message)
    return settings.database_url.get_secret_value()


def _repair_line(outcome: ConfirmedDifference) -> str:
    wrong = outcome.difference
    done = wrong.repair if outcome.repaired else "not repaired"
    return f"{wrong.event_id}  {wrong.fault} {wrong.subject}: {wrong.found} instead of {wrong.expected}: {done}"


def _audit_table(books: list[EventBooks], place: str) -> str:
    numbers = ("size", "remaining", "pending", "confirmed", "drift", "row_drift", "other_drift")
    lines = [f"{'event':<36}  {'title':<{TITLE_WIDTH}}" + "".join(f"{name:>12}" for name in numbers)]
    for event in books:
        cells = "".join(f"{getattr(event, name):>12}" for name in numbers)
        lines.append(f"{event.event_id}  {event.title[:TITLE_WIDTH]:<{TITLE_WIDTH}}{cells}")
    wrong = sum(not event.in_order for event in books)
    lines.append(f"{len(books)} events, {wrong} with drift in {place}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
