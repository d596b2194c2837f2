"""Faults on purpose: a real stack under a seeded storm of them, and a checker of what its buyers were told."""
