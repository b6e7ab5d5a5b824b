"""The caller of a request, the interface that verifies its credential, and keys derived from the secret keys."""
