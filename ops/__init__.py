"""What runs the system but is not the system: the embedded stack, the supervisor, the operator's command line."""
