"""The rim: the only code that knows Redis, arq and PostgreSQL."""
