"""Copies of whole stores: migration, backup and restore."""
