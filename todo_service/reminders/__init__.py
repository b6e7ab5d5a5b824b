"""Fires due dates and reminders: event streams and webhooks report each of them once."""
