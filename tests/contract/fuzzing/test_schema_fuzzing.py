"""Every answer to generated requests, on every operation and as every role, agrees with the OpenAPI document."""

from __future__ import annotations

import asyncio
import os
import sys

import httpx
import pytest

from domain.accounts.accounts import Role
from tests.contract.fuzzing.runs import ANONYMOUS, account, environment_of, furnish, fuzz, logged_in

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
"""How many requests each role sends at least: here, little more than the edges of every parameter and field, some
eight seconds of a machine that does nothing else; `make fuzz` asks for 24,000 in all."""

CASES_OF_COVERAGE = 1_000
"""The edges of every parameter and field make so many requests, whatever is asked for."""

CASES_PER_EXAMPLE = 36
"""One more example for each operation makes so many more; some operations have only one request to make."""

MAX_EXAMPLES = 1 + max(0, CASES - CASES_OF_COVERAGE) // CASES_PER_EXAMPLE


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("role", [ANONYMOUS, *Role])
async def test_every_answer_is_in_the_document(clean, processes, tmp_path, capsys, role):
    """S16, S17, S18: and none of them is a 5xx (P9)."""
    api, _ = processes.api(RATE_LIMITS="off"), processes.worker()
    keeper = await account(clean, "keeper", Role.ADMIN)
    caller = await account(clean, role, role) if role != ANONYMOUS else None
    with httpx.Client(base_url=api.url, timeout=20) as client:
        world = furnish(client, logged_in(client, keeper), caller and logged_in(client, caller), role)

    fuzzed = await asyncio.to_thread(
        fuzz,
        api.url,
        folder=tmp_path,
        world=world,
        environment=environment_of(caller, keeper),
        max_examples=MAX_EXAMPLES,
    )

    assert fuzzed.exit_code == 0, fuzzed.said
    with capsys.disabled():
        sys.stdout.write(f"\n{role}: {fuzzed.cases} cases\n")
    assert fuzzed.cases >= CASES
    assert not fuzzed.summary["auth"]["reauth_broke"]
    assert fuzzed.summary["operations"]["tested"] == fuzzed.summary["operations"]["total"]
