"""What the OpenAPI document and the README promise, held against the running system."""
