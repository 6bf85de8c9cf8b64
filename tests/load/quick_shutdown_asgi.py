"""The site, whose event streams end within half a second of SIGTERM."""

from accounts import shutdown
from config.asgi import application as application

shutdown.SPREAD_SECONDS = 0.5
