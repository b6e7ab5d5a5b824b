"""The embedded store: BSON documents in LMDB."""
