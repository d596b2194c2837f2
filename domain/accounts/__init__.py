"""Accounts, passwords, tokens and the keys that sign them. Pure, except for the key file."""
