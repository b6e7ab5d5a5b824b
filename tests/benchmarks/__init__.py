"""Benchmarks. README.md in this folder describes the method and the results."""
