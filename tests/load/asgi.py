"""The site as an ASGI application, with the page of async_urls.py."""

from django.conf import settings

from config.asgi import application

__all__ = ["application"]

settings.ROOT_URLCONF = "tests.load.async_urls"
