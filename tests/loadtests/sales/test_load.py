"""The load tests start and end what they need, and load no other machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from loadtests.sales import __main__
from loadtests.sales.stack import sale_stack
from ops.supervision.process import ProcessFailed
from tests.processes import ROOT


def exit_code_of(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["load", *arguments])
    with pytest.raises(SystemExit) as exited:
        __main__.main()
    return exited.value.code


def test_another_machine_is_not_put_under_load(monkeypatch, capsys) -> None:
    assert exit_code_of(monkeypatch, "--url", "http://192.0.2.1:8000") == __main__.EXIT_NOT_RUN
    assert "load goes to no other" in capsys.readouterr().out


def test_neither_does_locust_alone(tmp_path) -> None:
    locust = subprocess.run(
        [
            sys.executable,
            "-m",
            "locust",
            "-f",
            "loadtests/sales/locustfile.py",
            "--headless",
            "--host",
            "http://192.0.2.1",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={"PATH": "", "TMPDIR": str(tmp_path)},
    )

    assert locust.returncode == __main__.EXIT_NOT_RUN
    assert "load goes to no other" in locust.stderr


def test_more_buyers_than_the_maximum_are_refused(monkeypatch, capsys) -> None:
    assert exit_code_of(monkeypatch, "--buyers", "20001") == __main__.EXIT_NOT_RUN
    assert "20000 buyers" in capsys.readouterr().out


def test_a_stack_that_does_not_start_says_why(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("API_PROCESSES", "0")

    with pytest.raises(ProcessFailed, match="API_PROCESSES"), sale_stack(tmp_path):
        pytest.fail("it started")


def test_the_process_that_runs_locust_does_not_import_it() -> None:
    imports = "import sys, loadtests.sales.__main__; sys.exit('gevent' in sys.modules or 'locust' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", imports], cwd=ROOT, check=False).returncode == 0
