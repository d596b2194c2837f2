"""Figures, bars, tables and pictures of a run."""
