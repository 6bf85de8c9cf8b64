"""The ASGI application. Synchronous middleware and views, and the calls of asynchronous ones, run in a thread for each
request.
"""

import os

from django.core.asgi import get_asgi_application
from django.db import connections

from config.charset import Utf8ASGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_asgi_application()
application.request_class = Utf8ASGIRequest
# A thread ends with its request. Nobody would use its connection again, and it would stay open for a while.
for database in connections.settings.values():
    database["CONN_MAX_AGE"] = 0
