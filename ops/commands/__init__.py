"""The operator's commands, one per file."""
