"""Generators of load, and requests written down before they are sent."""
