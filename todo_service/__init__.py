"""A to-do service on a document store: embedded LMDB or MongoDB."""

__version__ = "0.1.0"
