"""The HTTP layer shared by all routes: a module for each concern."""
