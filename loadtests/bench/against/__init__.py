"""Builds to compare: the working tree and another revision, each with its own environment."""
