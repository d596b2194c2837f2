"""Dangerous constructs, found in the syntax tree of every module."""

from __future__ import annotations

import ast
import re
import time
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from api.http.bodies import LINE_PATTERN, TEXT_PATTERN
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("api", "domain", "worker", "ops", "loadtests", "migrations")
SERVING = ("api", "domain", "worker")
"""What strangers reach."""

UNWANTED_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve", "yaml", "telnetlib", "xml", "imp"}

UNWANTED_CALLS = {"eval", "exec", "compile", "__import__", "input", "breakpoint", "print"}
"""Of these, `print` is not dangerous, only a way past the logs' rules."""

WEAK_HASHES = {"md5", "sha1"}

SECRET_WORDS = re.compile(
    r"password|passphrase|secret|token(?!_epoch)|authorization|bearer|dsn|body|email|idempotency", re.IGNORECASE
)
"""What no field of a log line may be called; what it is not called, it is not given (the canary test looks)."""

LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}

SECRETS_READ_IN = {
    "domain/accounts/signing_keys.py",
    "domain/platform/settings.py",
    "domain/engine.py",
    "domain/store/payment_providers/configured.py",
    "domain/store/readiness.py",
    "ops/commands/cli.py",
    "ops/evidence/servers.py",
    "ops/commands/rotate_keys.py",
    "loadtests",
}
"""Where the value behind a SecretStr is asked for."""

HOSTILE_TEXTS = ["a" * 20_000, " " * 20_000, "a " * 10_000, "\\" * 20_000, '"' * 20_000, "=" * 20_000, "1" * 20_000]

REGEX_S_MAX = 2.0
"""For all patterns with one hostile text: linear ones take a few milliseconds, one that backtracks takes hours."""


def _trees(packages: tuple[str, ...]) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(chain.from_iterable((ROOT / package).rglob("*.py") for package in packages)):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def _calls(packages: tuple[str, ...]) -> Iterator[tuple[str, ast.Call, str]]:
    """Every call with the last part of what is called."""
    for name, tree in _trees(packages):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                last = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                yield f"{name}:{node.lineno}", node, last


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def test_nothing_is_read_that_could_be_code():
    """S29: no pickle, and nothing else that runs what it reads."""
    imported = {
        f"{path} imports {name}"
        for path, tree in _trees(PACKAGES)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.partition(".")[0] in UNWANTED_MODULES
    }

    assert imported == set()


def test_no_text_becomes_code_and_nothing_is_printed_by_what_serves():
    found = {
        f"{where} calls {called}"
        for where, call, called in _calls(SERVING)
        if called in UNWANTED_CALLS and isinstance(call.func, ast.Name)
    }

    assert found == set()


def test_no_program_is_started_through_a_shell():
    found = {
        where
        for where, call, called in _calls(PACKAGES)
        if called in {"system", "popen", "getoutput", "create_subprocess_shell"}
        or (isinstance(shell := _keyword(call, "shell"), ast.Constant) and shell.value)
    }

    assert found == set()


def test_certificates_are_never_waved_through():
    found = {
        where
        for where, call, called in _calls(PACKAGES)
        if called == "_create_unverified_context"
        or (isinstance(verify := _keyword(call, "verify"), ast.Constant) and verify.value is False)
    }

    assert found == set()


def test_weak_hashes_keep_no_secret():
    """Redis names scripts by SHA-1; that is the one use, and says that it protects nothing."""
    found = {
        where
        for where, call, called in _calls(PACKAGES)
        if called in WEAK_HASHES
        and isinstance(call.func, ast.Attribute)
        and getattr(call.func.value, "id", "") == "hashlib"
        and not isinstance(_keyword(call, "usedforsecurity"), ast.Constant)
    }

    assert found == set()


def test_what_serves_throws_no_dice_but_the_systems():
    """Ids, tokens and keys come from `uuid4` and `secrets`; only chaos draws from a seed."""
    found = {
        path
        for path, tree in _trees(SERVING)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names)
    }

    assert found <= {"domain/platform/failpoints.py"}


def test_no_field_of_a_log_line_is_called_like_a_secret():
    """S28: a line has what it needs to find a request, and nothing that lets somebody else send it."""
    found = {
        f"{where} logs {keyword.arg}"
        for where, call, called in _calls(PACKAGES)
        if called in LOG_METHODS and getattr(getattr(call.func, "value", None), "id", "") in {"log", "_log"}
        for keyword in call.keywords
        if SECRET_WORDS.search(keyword.arg or "")
    }

    assert found == set()


def test_secrets_are_uncovered_in_few_places():
    found = {where.partition(":")[0] for where, _, called in _calls(PACKAGES) if called == "get_secret_value"}

    assert {path for path in found if not path.startswith(tuple(SECRETS_READ_IN))} == set()


def test_every_queue_says_how_its_jobs_are_written():
    """S29: arq's default is pickle."""
    found = {
        where: {keyword.arg for keyword in call.keywords} & {"job_serializer", "job_deserializer"}
        for where, call, called in _calls(SERVING)
        if called in {"ArqRedis", "Worker", "create_pool"} or (called == "from_url" and "Arq" in ast.dump(call.func))
    }

    assert found
    assert all(named == {"job_serializer", "job_deserializer"} for named in found.values()), found


def test_commands_of_redis_and_texts_of_scripts_are_constants():
    """S22: whatever a caller sends is an argument or, checked, part of a key; never part of a command."""
    found = {
        where
        for where, call, called in _calls(("domain", "api", "worker"))
        if called in {"call", "execute_command", "eval", "script_load", "register_script"}
        and call.args
        and isinstance(call.args[0], ast.JoinedStr | ast.BinOp)
    }

    assert found == set()


def _patterns() -> dict[str, str]:
    """Every regular expression that is compiled while serving, by where it stands."""
    found = {
        where: str(call.args[0].value.decode() if isinstance(call.args[0].value, bytes) else call.args[0].value)
        for where, call, called in _calls(SERVING)
        if called == "compile"
        and getattr(getattr(call.func, "value", None), "id", "") == "re"
        and isinstance(call.args[0], ast.Constant)
    }
    return found | {"LINE_PATTERN": LINE_PATTERN, "TEXT_PATTERN": TEXT_PATTERN}


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text[:2]))
def test_no_regular_expression_blows_up(text):
    """S30: each pattern, searched and matched, with texts that make backtracking ones stand still."""
    patterns = [re.compile(pattern) for pattern in _patterns().values()]

    began_s = time.process_time()
    for pattern in patterns:
        pattern.fullmatch(text + "\x00")
        pattern.match(text + "!")

    assert len(patterns) >= 10
    assert time.process_time() - began_s < REGEX_S_MAX


def test_no_regular_expression_repeats_a_repetition():
    """S30: `(a+)+` is how an expression takes exponential time."""
    nested = re.compile(r"[+*}]\)[+*{]")

    assert {where: pattern for where, pattern in _patterns().items() if nested.search(pattern)} == {}


def test_no_pattern_is_made_of_what_somebody_sent():
    found = {
        where
        for where, call, called in _calls(SERVING)
        if called in {"compile", "match", "search", "fullmatch", "sub", "findall"}
        and getattr(getattr(call.func, "value", None), "id", "") == "re"
        and not isinstance(call.args[0], ast.Constant | ast.Name)
    }

    assert found == set()
