"""The file formats of export and import: JSON, CSV and iCalendar."""
