"""Accounts, their passwords, sessions and API keys, and the authentication of requests."""
