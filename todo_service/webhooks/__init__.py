"""Webhooks: signed HTTP requests that tell other programs what has changed (Standard Webhooks 1.0.0)."""
