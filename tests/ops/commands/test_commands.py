"""The operator's commands, on embedded servers that are not running."""

from __future__ import annotations

import json
import stat

import pytest
from click.testing import CliRunner

from ops.commands.accounts import AdminRefused, create_admin
from ops.commands.cli import main
from ops.commands.demo_credentials import demo_passwords
from ops.embedded.folder_lock import held
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.stack import EmbeddedStack
from tests.ops.stacks import environment, onsale

NO_STORES = None
"""Nothing is asked before the rules are checked."""


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    """The environment of an operator whose servers run, and are empty."""
    folder = tmp_path_factory.mktemp("operator")
    with EmbeddedStack(folder / "data", durable=False) as stack:
        settings = environment(folder, embedded=True) | stack.environment()
        assert onsale(["migrate"], settings).returncode == 0
        yield settings


@pytest.fixture(scope="module")
def demo(operator):
    """What the first `onsale demo` said."""
    made = onsale(["demo"], operator)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_demo_data_is_made_once_and_its_passwords_are_printed_again(operator, demo):
    assert onsale(["demo"], operator).stdout == demo
    assert '"event_id"' in demo


def test_what_to_type_goes_to_the_port_of_the_stack_that_runs(folder):
    data, settings = folder / "data", environment(folder, embedded=True)
    with EmbeddedStack(data, durable=False) as stack, held(data, port=8123) as hold:
        assert onsale(["migrate"], settings | stack.environment()).returncode == 0
        hold.tell_serving()

        told = onsale(["demo"], settings)

    assert told.stdout.count("http://127.0.0.1:8123/api/v1/") == 2, told.stderr


def test_demo_passwords_are_kept_for_their_owner_alone_and_differ(folder):
    passwords = demo_passwords(folder / "demo.json")

    assert stat.S_IMODE((folder / "demo.json").stat().st_mode) == 0o600
    assert len(set(passwords.values())) == len(passwords) == 5
    assert json.loads((folder / "demo.json").read_text())["passwords"] == passwords


@pytest.mark.usefixtures("demo")
def test_the_books_of_a_demo_are_in_order(operator):
    audit = onsale(["audit"], operator)

    assert audit.returncode == 0, audit.stderr
    assert "Winter Gala" in audit.stdout
    assert "0 with drift" in audit.stdout


@pytest.mark.usefixtures("demo")
def test_no_event_of_a_demo_is_moved_by_the_rules_of_time_zones(operator):
    compared = onsale(["zones"], operator)

    assert compared.returncode == 0, compared.stderr
    assert "7 events to come, 0 moved by tzdata 20" in compared.stdout


def test_an_administrator_is_made_once(operator):
    """S26: on the command line only."""
    command = ["create-admin", "--email", "Root@Example.org", "--password-stdin"]

    made = onsale(command, operator, stdin="a long enough password\n")
    again = onsale(command, operator, stdin="a long enough password\n")

    assert made.returncode == 0, made.stderr
    assert "is an administrator" in made.stdout
    assert again.returncode == 1
    assert "Traceback" not in again.stderr


def test_an_admin_who_forgot_the_password_gets_another(operator):
    onsale(
        ["create-admin", "--email", "lost@example.org", "--password-stdin"], operator, stdin="a forgotten password\n"
    )

    command = ["set-password", "--password-stdin", "--email"]
    given = onsale([*command, "Lost@Example.org"], operator, stdin="a long enough password\n")
    weak = onsale([*command, "lost@example.org"], operator, stdin="short\n")
    unknown = onsale([*command, "nobody@example.org"], operator, stdin="a long enough password\n")

    assert given.returncode == 0, given.stderr
    assert "lost@example.org has a new password" in given.stdout
    assert (weak.returncode, unknown.returncode) == (1, 1)
    assert "the password must have" in weak.stderr
    assert "no account has the address nobody@example.org" in unknown.stderr
    assert "Traceback" not in weak.stderr + unknown.stderr


@pytest.mark.parametrize(
    ("email", "password", "why"),
    [("root@example.org", "short", "characters"), ("no address", "a long enough password", "e-mail")],
)
async def test_an_administrator_keeps_the_rules(email, password, why):
    with pytest.raises(AdminRefused, match=why):
        await create_admin(NO_STORES, email=email, password=password)


@pytest.mark.parametrize("command", ["create-admin", "set-password"])
def test_a_password_is_never_taken_from_the_command_line(command):
    assert CliRunner().invoke(main, [command, "--email", "a@example.org", "--password", "x"]).exit_code == 2


def test_servers_that_are_not_running_are_started_for_a_command_and_stopped_after_it(folder):
    settings = environment(folder, embedded=True)
    EmbeddedPostgres(folder / "data", durable=False).make()

    made = onsale(["demo"], settings, forked=False)
    audit = onsale(["audit"], settings, forked=False)

    assert made.returncode == 0, made.stderr
    assert audit.returncode == 0, audit.stderr
    assert "7 events, 0 with drift" in audit.stdout
    assert not list((folder / "data" / "run").glob("*.sock"))


@pytest.mark.parametrize(
    "command", ["up", "migrate", "create-admin", "set-password", "demo", "audit", "licences", "rotate-keys", "zones"]
)
def test_help_documents_every_command(command):
    overview = CliRunner().invoke(main, ["--help"])
    page = CliRunner().invoke(main, [command, "--help"])

    assert command in overview.output
    assert page.exit_code == 0
    assert len(page.output.splitlines()) > 4


def test_the_version_is_told():
    assert CliRunner().invoke(main, ["--version"]).output.startswith("onsale, version ")
