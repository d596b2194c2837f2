"""Keeps the processes of a stack running, and stops them all."""
