"""Delta sync, and counts of todos that are updated from changes."""
