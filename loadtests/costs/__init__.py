"""Single measurements: one question, one figure."""
