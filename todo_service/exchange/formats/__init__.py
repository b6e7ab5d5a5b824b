"""The file formats: JSON, CSV and iCalendar for export and import, and those of other programs for import only."""
