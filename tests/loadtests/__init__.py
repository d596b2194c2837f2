"""The load tests' own tests: that `verify` can fail, and that the buyers do what they are said to do."""
