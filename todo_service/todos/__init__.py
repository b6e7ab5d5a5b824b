"""Todos, the lists of an account and everything about them."""
