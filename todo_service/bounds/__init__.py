"""Every limit on the work that a client can cause.

Each limit is a module-level constant and a row of the tables in `docs/limits.md`, which are generated from here. So the
code and the page always agree.
"""
