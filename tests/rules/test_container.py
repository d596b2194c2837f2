"""The image and the deployment that is described: nobody's root, nothing writable, no secret inside."""

from __future__ import annotations

import re

import yaml

from tests.processes import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "onsale"}

SECRET_SETTINGS = re.compile(r"SECRET|PASSWORD")


def _instructions(name):
    return re.findall(rf"^{name} (.*)$", DOCKERFILE.partition("\nFROM ")[2], re.MULTILINE)


def test_the_image_runs_as_nobody_special():
    (user,) = _instructions("USER")

    assert user not in {"root", "0"}
    assert f"useradd --system --uid 10001 --no-create-home {user}" in DOCKERFILE
    assert DOCKERFILE.rindex("USER ") > DOCKERFILE.rindex("RUN ")


def test_the_image_has_locked_packages_and_no_installer():
    assert DOCKERFILE.count("--require-hashes") == 2
    assert "pip uninstall --yes uv setuptools" in DOCKERFILE
    assert "requirements-dev" not in DOCKERFILE


def test_the_image_has_no_secret_and_no_history():
    ignored = (ROOT / ".dockerignore").read_text().split()

    assert not [line for line in DOCKERFILE.splitlines() if SECRET_SETTINGS.search(line)]
    assert {".git", ".data"} <= set(ignored)


def test_every_process_of_ours_is_read_only_and_has_no_rights():
    assert set(OURS) == {"migrate", "api", "worker"}
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        assert "user" not in service


def test_nothing_of_ours_is_writable_but_a_folder_in_memory_and_the_demos():
    for service in OURS.values():
        assert service["tmpfs"] == ["/tmp"]
    assert {name: service["volumes"] for name, service in OURS.items() if "volumes" in service} == {
        "migrate": ["demo:/var/lib/onsale"]
    }


def test_a_deployment_without_secrets_of_its_own_does_not_start():
    environment = OURS["api"]["environment"] | COMPOSE["services"]["postgres"]["environment"]
    secret = {name: value for name, value in environment.items() if SECRET_SETTINGS.search(value)}

    assert {"JWT_SECRET", "DATABASE_URL", "POSTGRES_PASSWORD"} <= set(secret)
    assert all(re.search(r"\$\{[A-Z_]+:\?", value) for value in secret.values())


def test_only_the_api_is_reached_from_outside_and_only_from_this_machine():
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}

    assert published == {"api": ["127.0.0.1:8000-8009:8000"]}


def test_the_inventory_forgets_nothing():
    """S1: readiness refuses one that evicts or keeps no append-only file."""
    command = COMPOSE["services"]["inventory"]["command"]

    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"
