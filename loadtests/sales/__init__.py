"""On-sales with published figures, replayed by locust."""
