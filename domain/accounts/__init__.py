"""Accounts, passwords, tokens and the keys that sign them. Pure but for the key file."""
