"""The HTTP server: uvicorn, an HTTP protocol with limits, and graceful shutdown."""
