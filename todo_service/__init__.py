"""A to-do service over a document store: embedded in LMDB, or on MongoDB."""

__version__ = "0.1.0"
