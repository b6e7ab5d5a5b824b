"""Fires due dates and reminders, each of them once. Webhooks report both; event streams report reminders only."""
