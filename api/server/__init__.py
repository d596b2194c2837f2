"""The HTTP server: uvicorn's, with limits, deadlines, answers in one write, and a graceful end."""
