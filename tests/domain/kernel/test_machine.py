"""The real scripts and statements behave as the model in every sequence of actions and faults."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from domain.background.rebuilding import rebuild
from domain.engine import open_stores
from domain.kernel.refusals import Refusal
from ops.chaos.protections import Protection, without
from tests.domain.kernel.machine import Machine

if TYPE_CHECKING:
    from domain.engine import Stores
    from domain.platform.settings import Settings

EXAMPLES, EXAMPLES_DURABLE, RULES = 10, 5, 40
"""Some 10 seconds; a night's worth is a matter of these three."""

SECONDS_MAX = 600
"""Longer than Hypothesis shortens a sequence that fails; without a failure the test takes seconds."""


@pytest.mark.timeout(SECONDS_MAX)
@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(("durability", "examples"), [("redis", EXAMPLES), ("postgres", EXAMPLES_DURABLE)])
def test_the_engine_does_what_the_model_does(settings, durability, examples):
    settings = settings.model_copy(update={"durability": durability})

    run(settings, examples, [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])


@pytest.mark.timeout(SECONDS_MAX)
@pytest.mark.unbalanced
@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    "protection",
    [
        Protection.SIZE_CHECK,
        Protection.RELEASE_ONCE,
        Protection.EPOCH_IN_POSTGRES,
        Protection.STABLE_ID,
        Protection.LOOKUP,
    ],
)
def test_the_model_notices_a_protection_that_is_missing(settings, protection):
    with without(protection), pytest.raises((AssertionError, Refusal)):
        run(settings, EXAMPLES * 14, [Phase.generate])


def run(settings: Settings, examples: int, phases: list[Phase]) -> None:
    """Run the machine on the stores of two processes, in a loop of its own."""
    with asyncio.Runner() as runner, ExitStack() as closing:
        processes = tuple(_opened(runner, closing, settings) for _ in range(2))
        for each in processes:
            runner.run(each.scripts.refresh())
        bound = {
            "run": staticmethod(runner.run),
            "processes": processes,
            "durable": settings.durability == "postgres",
        }
        run_state_machine_as_test(
            type("BoundMachine", (Machine,), bound),
            settings=hypothesis_settings(
                max_examples=examples,
                stateful_step_count=RULES,
                phases=phases,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


def _opened(runner: asyncio.Runner, closing: ExitStack, settings: Settings) -> Stores:
    opening = open_stores(settings)
    stores = runner.run(opening.__aenter__())
    closing.callback(lambda: runner.run(opening.__aexit__(None, None, None)))
    runner.run(rebuild(stores))
    return stores
