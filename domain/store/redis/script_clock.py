"""The clock of the Lua scripts."""

from __future__ import annotations

HELD_MS_MAX = 7_200_000
"""How far the latest time that an event has recorded may be ahead of Redis' clock and still count.

When the clock is set back by less, for example by one hour, the event's time does not go back. A recorded time that is
further ahead came from a clock that was wrong by more; to wait for it would keep events closed for that long.
"""

EXPIRE_MAX = 64
"""Holds that expire in one call of a script that is short of a counter: some 0.2 ms of Redis' time."""

CLOCK = {
    "EXPIRE_MAX": f"local EXPIRE_MAX = {EXPIRE_MAX}\n",
    "HELD_MS_MAX": f"local HELD_MS_MAX = {HELD_MS_MAX}\n",
    "redis_us": """
local function redis_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
""",
    "redis_ms": """
local function redis_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
""",
    "no_earlier": f"""
local function no_earlier(now_ms, seen_ms)
  seen_ms = tonumber(seen_ms)
  if seen_ms and seen_ms > now_ms and seen_ms - now_ms <= {HELD_MS_MAX} then return seen_ms end
  return now_ms
end
""",
}
"""Definitions of the clock for scripts; each script is prefixed with those that it uses.

`no_earlier` returns a time that does not go back when Redis' clock is set back: the later of the clock and the latest
time that an event has recorded, which is in the field `clock` of its counters. reserve_tickets.lua has the same logic
inline, because there a function call is measurable.
"""


def no_earlier(now_ms: int, seen_ms: int) -> int:
    """The `no_earlier` of the scripts, for Python code that reads the field `clock` itself."""
    return seen_ms if 0 < seen_ms - now_ms <= HELD_MS_MAX else now_ms
