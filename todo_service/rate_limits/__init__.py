"""Rate limits, and limits on concurrent requests."""
