"""The site's WSGI application, with an address at which it raises an error that Django does not see."""

from typing import Any

from config.wsgi import application as site


def application(environ: dict[str, Any], start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/broken/":
        raise RuntimeError("broken outside of Django")
    return site(environ, start_response)
