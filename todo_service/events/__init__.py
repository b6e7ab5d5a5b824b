"""Server-sent events: the changes of an account, as they happen."""
