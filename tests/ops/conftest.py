"""Stacks and folders that are removed after each test."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ops.stacks import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder with a short path: sockets in it fit."""
    made = Path(tempfile.mkdtemp(prefix="onsale-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Stack]]:
    """Starts stacks in `folder`."""
    started: list[Stack] = []

    def start_one(**settings: object) -> Stack:
        stack = Stack(folder, **settings)
        started.append(stack)
        return stack

    yield start_one
    for stack in started:
        stack.discard()
