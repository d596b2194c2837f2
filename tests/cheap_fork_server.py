"""The fork server of the chaos runner, whose processes hash passwords at the lowest cost.

Hashes at the real cost are most of what an API process does in a test with many logins. The tests of passwords and of
the time of a login use the real cost in their own process.
"""

import runpy

from domain.accounts import passwords

if __name__ == "__main__":
    passwords.MEMORY_KIB = 8
    passwords.PASSES = 1
    runpy.run_module("ops.chaos.stack.fork_server", run_name="__main__", alter_sys=True)
