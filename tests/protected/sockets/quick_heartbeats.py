"""The site with a heartbeat each second, one second for an upload that no view reads, and one more view. So no test has
to wait for long.
"""

from django.conf import settings

from accounts.upstream import event_stream
from config import uploads
from config.wsgi import application as application
from protected import streams

event_stream.HEARTBEAT_SECONDS = 1.0
streams.HEARTBEAT_SECONDS = 1.0  # type: ignore[attr-defined]
uploads.MAX_SECONDS = 1.0
settings.ROOT_URLCONF = "tests.protected.sockets.urls"
