"""What is known after a run, and the checks that hold promises against it."""
