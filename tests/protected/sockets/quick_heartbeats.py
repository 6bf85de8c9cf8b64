"""The site's WSGI application with a heartbeat each second, and with one second for an upload that no view reads. So no
test has to wait for long.
"""

from accounts.upstream import event_stream
from config import uploads
from config.wsgi import application as application
from protected import streams

event_stream.HEARTBEAT_SECONDS = 1.0
streams.HEARTBEAT_SECONDS = 1.0  # type: ignore[attr-defined]
uploads.MAX_SECONDS = 1.0
