"""Every bound on what a client can make the service do, declared once.

A bound is a module-level constant that other modules import, and a row of the table in `docs/limits.md`. Declaring both
in one place keeps the page true: a number cannot change in the code without changing on the page.
"""
