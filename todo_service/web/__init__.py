"""HTTP rules that hold everywhere, each in one module."""
