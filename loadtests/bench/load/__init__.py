"""Generators of load, and requests prepared before they are sent."""
