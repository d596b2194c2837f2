"""How Lua scripts tell the time."""

from __future__ import annotations

HELD_MS_MAX = 7_200_000
"""How far the time an event has seen may be ahead of Redis' clock and still count.

A clock that is set back by less, such as one that ran ahead by an hour, lets no event's time go back. From further
ahead only a clock comes that was wrong by more: to wait for it would keep events closed for as long.
"""

CLOCK = {
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
"""How scripts tell the time; a script begins with those of these that it calls.

`no_earlier` is a time that does not go back when Redis' clock is set back: the later of the clock and the last time
that an event has seen, which stands in the field `clock` of its counters. reserve.lua has it in its own words: there
a call would be felt.
"""


def no_earlier(now_ms: int, seen_ms: int) -> int:
    """`no_earlier` of the scripts, for who reads the field `clock` past them."""
    return seen_ms if 0 < seen_ms - now_ms <= HELD_MS_MAX else now_ms
