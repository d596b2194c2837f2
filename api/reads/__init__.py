"""Reads that many callers share."""
