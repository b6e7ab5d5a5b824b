"""Queries: the expressions that a store understands, and the planner that picks an index."""
