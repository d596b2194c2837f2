"""What the OpenAPI document, the README and docs/ promise, held against the running system."""
