"""nginx with the file of the recipe."""

import os
from pathlib import Path

from tests.config.proxy import Proxy

#: What surrounds the recipe on Debian, as far as it matters; gzip is on there.
_AROUND = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    gzip on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {recipe};
}}
"""


class Nginx(Proxy):
    program = package = "nginx"
    recipe = "nginx.conf"

    def own_places(self, site_port: int, certificate: Path) -> dict[str, str]:
        return {
            "127.0.0.1:8000": f"127.0.0.1:{site_port}",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "www.example.com": "127.0.0.1",
            "/etc/ssl/site/certificate.pem": str(certificate),
            "/etc/ssl/site/key.pem": str(certificate),
            "/var/log/nginx": str(self.folder),
        }

    def arguments(self, recipe: Path) -> list[str]:
        user = "user root;" if os.geteuid() == 0 else ""
        around = self.folder / "around.conf"
        around.write_text(_AROUND.format(folder=self.folder, recipe=recipe, user=user))
        return ["-p", str(self.folder), "-c", str(around), "-e", "error.log"]
