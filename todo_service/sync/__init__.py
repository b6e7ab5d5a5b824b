"""Delta sync, and the counts that are derived from changes."""
