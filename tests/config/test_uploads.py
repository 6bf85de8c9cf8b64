"""Requests whose body the site does not read, on sockets to gunicorn and granian."""

PATIENCE_SECONDS = 60.0
