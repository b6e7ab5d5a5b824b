"""Rate limits and limits of concurrent requests."""
