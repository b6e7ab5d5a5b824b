"""Due dates and reminders that fire: when they pass, event streams and webhooks report them, once."""
