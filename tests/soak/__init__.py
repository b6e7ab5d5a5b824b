"""Attacks for minutes next to a normal user: `pdm run test-soak`."""
