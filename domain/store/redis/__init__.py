"""The stores in Redis, and the Lua scripts."""
