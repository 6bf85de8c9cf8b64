"""The WSGI application: `gunicorn config.wsgi`."""

import os

import django

from config.uploads import SiteHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

application = SiteHandler()
