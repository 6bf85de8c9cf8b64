"""HAProxy, Caddy, Apache httpd and Varnish with the files of their recipes."""

import os
import re
import socket
from pathlib import Path

from tests.config.proxy import RECIPES, Proxy
from tests.load.processes import free_port


class HAProxy(Proxy):
    program = package = "haproxy"
    recipe = "haproxy.cfg"

    def own_places(self, site_port: int, certificate: Path) -> dict[str, str]:
        return {
            "127.0.0.1:8000": f"127.0.0.1:{site_port}",
            "bind :80": f"bind 127.0.0.1:{self.plain_port}",
            "bind :443": f"bind 127.0.0.1:{self.port}",
            "www.example.com": "127.0.0.1",
            "/etc/ssl/site/site.pem": str(certificate),
            "log /dev/log local0": "log stdout format raw local0",
            "    user haproxy\n    group haproxy\n": "",
        }

    def arguments(self, recipe: Path) -> list[str]:
        return ["-db", "-f", str(recipe)]

    def hides_cuts(self) -> bool:
        """Over HTTP/2."""
        return self.version("-v") < (2, 8)


class Caddy(Proxy):
    program = package = "caddy"
    recipe = "Caddyfile"

    def own_places(self, site_port: int, certificate: Path) -> dict[str, str]:
        ports = f"\tadmin off\n\thttp_port {self.plain_port}\n\thttps_port {self.port}\n"
        return {
            "127.0.0.1:8000": f"127.0.0.1:{site_port}",
            "\n{\n": f"\n{{\n{ports}",
            # It gets certificates for public names only.
            "www.example.com {": f"127.0.0.1 {{\n\ttls {certificate} {certificate}",
            "www.example.com": "127.0.0.1",
        }

    def arguments(self, recipe: Path) -> list[str]:
        return ["run", "--adapter", "caddyfile", "--config", str(recipe)]

    def hides_cuts(self) -> bool:
        return self.version("version") < (2, 8)


#: What surrounds the recipe on Debian, as far as it matters; deflate is on there.
_AROUND = """
ServerRoot {folder}
ServerName 127.0.0.1
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
ErrorLog {folder}/error.log
{user}
{modules}
Listen 127.0.0.1:{plain_port}
Listen 127.0.0.1:{port}
AddOutputFilterByType DEFLATE text/html text/plain
Include {recipe}
"""
_MODULES = "mpm_event authz_core alias deflate env filter headers http2 proxy proxy_http ssl unique_id"


class Apache(Proxy):
    program = package = "apache2"
    recipe = "apache.conf"

    def own_places(self, site_port: int, certificate: Path) -> dict[str, str]:
        return {
            "127.0.0.1:8000": f"127.0.0.1:{site_port}",
            "*:80": f"127.0.0.1:{self.plain_port}",
            "*:443": f"127.0.0.1:{self.port}",
            "www.example.com": "127.0.0.1",
            "/etc/ssl/site/certificate.pem": str(certificate),
            "/etc/ssl/site/key.pem": str(certificate),
            "/var/log/apache2": str(self.folder),
        }

    def arguments(self, recipe: Path) -> list[str]:
        around = self.folder / "around.conf"
        modules = [f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in _MODULES.split()]
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        values = {"folder": self.folder, "recipe": recipe, "user": user, "modules": "\n".join(modules)}
        around.write_text(_AROUND.format(**values, port=self.port, plain_port=self.plain_port))
        return ["-DFOREGROUND", "-f", str(around)]


class Varnish(Proxy):
    """Behind HAProxy, which ends TLS."""

    program = "varnishd"
    package = "varnish"
    recipe = "varnish.vcl"
    count = 2

    def __init__(self, site_port: int, certificate: Path) -> None:
        self._own_port = free_port()
        super().__init__(site_port, certificate)
        self._front = HAProxy(self._own_port, certificate)
        self.port, self.plain_port = self._front.port, self._front.plain_port
        self.url, self.plain_url = self._front.url, self._front.plain_url

    @classmethod
    def missing(cls) -> str:
        return super().missing() or HAProxy.missing()

    def own_places(self, site_port: int, certificate: Path) -> dict[str, str]:
        return {'.port = "8000"': f'.port = "{site_port}"'}

    def arguments(self, recipe: Path) -> list[str]:
        """The command in the recipe, in the foreground."""
        recipe.parent.chmod(0o755)  # started by root, it reads the file as another user
        command = re.search(r"^#   varnishd (.*\n(?:#     .*\n)+)", (RECIPES / self.recipe).read_text(), re.MULTILINE)
        assert command
        ours = {"127.0.0.1:6081": f"127.0.0.1:{self._own_port}", "/etc/varnish/default.vcl": str(recipe)}
        return [
            "-F",
            "-n",
            str(self.folder / "run"),
            *(ours.get(word, word) for word in command[1].split() if word != "#"),
        ]

    def __enter__(self) -> "Varnish":
        self._front.__enter__()
        return super().__enter__()

    def hides_cuts(self) -> bool:
        return self._front.hides_cuts()

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return super().is_ready() and probe.connect_ex(("127.0.0.1", self._own_port)) == 0

    def close(self) -> None:
        self._front.close()
        super().close()

    @property
    def log(self) -> str:
        return self._front.log + super().log


OTHERS: tuple[type[Proxy], ...] = (HAProxy, Caddy, Apache, Varnish)
