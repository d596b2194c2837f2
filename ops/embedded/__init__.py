"""The embedded servers: PostgreSQL and Valkey from installed wheels, each in its folder."""
