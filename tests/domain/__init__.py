"""The engine, on real servers where it needs them."""
