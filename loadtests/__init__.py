"""On-sales with real figures, and the check that nothing was oversold or lost."""
