"""A small database of each release, for each store, which every later release must open.

`pdm run keep-release` makes those of the current version. Never change one that has been released.
"""
