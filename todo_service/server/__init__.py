"""The HTTP server: uvicorn, its protocol within limits, and a graceful stop."""
