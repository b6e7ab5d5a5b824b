"""Tests of due dates and reminders that fire."""
