"""On-sales by locust, with published figures, and what their buyers were told."""
