"""Parts that every process needs: settings, logs, failpoints, concurrency, garbage collection."""
