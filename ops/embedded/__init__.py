"""The embedded servers, PostgreSQL and Valkey from installed wheels, and whole stacks on them."""
