"""The forms in which todos are written out and read in: JSON, comma-separated values, iCalendar."""
