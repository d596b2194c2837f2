"""Background work: persist, clear, close, rebuild, reconcile, audit, delete old rows."""
