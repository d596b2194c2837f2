"""The stores: the only code that calls Redis, arq and PostgreSQL."""
