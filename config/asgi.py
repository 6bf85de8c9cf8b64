"""The ASGI application. Django runs the site's synchronous views in threads and buffers their streams: prefer WSGI."""

import os

from django.core.asgi import get_asgi_application

from config.charset import Utf8ASGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_asgi_application()
application.request_class = Utf8ASGIRequest
