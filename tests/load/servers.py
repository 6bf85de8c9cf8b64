"""The site behind the other servers that it is said to run on."""

import sys

from tests.load.site import Site


class GeventSite(Site):
    """gunicorn with a greenlet for each connection."""

    connections = 200

    def command(self) -> list[str]:
        return [*super().command(), "--worker-class", "gevent", "--worker-connections", str(self.connections)]


class UvicornSite(Site):
    """It has no worker processes: give it workers=0."""

    def command(self) -> list[str]:
        address = ("--host", "127.0.0.1", "--port", str(self.port))
        return [sys.executable, "-m", "uvicorn", "config.asgi:application", *address, "--no-access-log"]


class GranianSite(Site):
    def command(self) -> list[str]:
        address = ("--host", "127.0.0.1", "--port", str(self.port))
        return [sys.executable, "-m", "granian", "config.asgi:application", "--interface", "asgi", "--no-ws", *address]
