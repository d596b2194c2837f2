"""The OpenAPI document, the README and docs/ compared with the running system."""
