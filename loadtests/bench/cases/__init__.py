"""The measurements: cases, draining, waiting, memory, growth, pages, rush."""
