"""The site, whose event streams end within a second of SIGTERM."""

from accounts import shutdown
from config.wsgi import application as application

shutdown.SPREAD_SECONDS = 1.0
