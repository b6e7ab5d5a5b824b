"""Who makes a request: the caller, and how its credential is checked."""
