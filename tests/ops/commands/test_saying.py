"""Logs and tracebacks of commands contain no secret."""

from __future__ import annotations

import pytest
import structlog

from ops.commands.cli import _log_warnings_only


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    structlog.reset_defaults()


def test_a_traceback_of_a_command_shows_no_locals(capsys):
    """S28: locals hold passwords."""
    _log_warnings_only()

    def fail(password):
        raise ValueError(len(password))

    try:
        fail("canary-" + "7c1e")
    except ValueError:
        structlog.get_logger().exception("failed")

    said = capsys.readouterr()
    assert "ValueError: 11" in said.out + said.err
    assert "canary-7c1e" not in said.out + said.err
