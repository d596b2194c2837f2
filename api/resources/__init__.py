"""The resources: one controller per file, with the shapes of its requests and answers."""
