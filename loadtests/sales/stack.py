"""The stack of a sale: `onsale up` with the caller's settings, but rate limits off and servers of its own."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from ops.embedded.running import RunningStack, inherited_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def sale_stack(
    folder: Path, *, log: Path | None = None, say: Callable[[str], None] = print, **settings: str
) -> RunningStack:
    """A stack that is not started yet; its data is in `folder`, its output in `log`, which outlives it.

    Each buyer has a connection, so this process and the stack may open as many files as the system allows.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    unlimited = {"RATE_LIMITS": "off", **settings}
    return RunningStack(folder, log=log, say=say, environment=inherited_settings(), settings=unlimited)
