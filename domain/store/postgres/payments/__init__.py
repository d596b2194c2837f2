"""Payments in PostgreSQL, which is the truth of them: money received, money that goes back, payments begun."""
