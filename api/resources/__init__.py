"""The resources: one controller a file, the shapes of its requests and answers beside it."""
