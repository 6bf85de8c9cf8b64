"""The site's WSGI application with a heartbeat each second, so that no test has to wait for ten seconds."""

from config.wsgi import application as application
from protected import streams

streams.HEARTBEAT_SECONDS = 1.0  # type: ignore[attr-defined]
