"""Buyers of holds and of any counters, in a process that calls the engine itself: such orders have no route yet."""
