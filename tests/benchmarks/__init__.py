"""What is measured, and against what; README.md beside this file says how, and what came of it."""
