"""PostgreSQL and Valkey for tests."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ops.embedded.stack import EmbeddedStack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def throwaway_servers(
    only: str | None = None, *, environment: Mapping[str, str] | None = None
) -> Iterator[EmbeddedStack]:
    """Run servers on a temporary folder during the block; a power cut may lose their data."""
    folder = Path(tempfile.mkdtemp(prefix="onsale-test-"))
    stack = EmbeddedStack(folder, durable=False, only=only)
    try:
        for server in stack.servers:
            server.environment |= environment or {}
        stack.start()
        yield stack
    finally:
        for server in stack.servers:
            server.kill()
        shutil.rmtree(folder)
