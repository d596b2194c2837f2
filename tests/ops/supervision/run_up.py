"""`onsale up` on another Procfile: python -m tests.ops.supervision.run_up PROCFILE."""

import sys
from pathlib import Path

from domain.platform.settings import load_settings
from ops.commands.up import Plan, up

if __name__ == "__main__":
    up(load_settings(), Plan(procfile=Path(sys.argv[1]), ready_path="/", steps=False))
