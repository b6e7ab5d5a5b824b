"""Todos: rules, lists and searches, recurrence, summaries and quotas."""
