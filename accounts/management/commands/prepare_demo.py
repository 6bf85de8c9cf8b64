"""`make run` starts with this command: it needs a database, a staff user and two free ports."""

import socket
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

STAFF_NAME = STAFF_PASSWORD = "staff"  # noqa: S105  # of a demo that runs in DEBUG only


class Command(BaseCommand):
    help = "Prepare the demo: migrate, create the staff user, and print the addresses. DEBUG only."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="the site's port")
        parser.add_argument("--api-port", type=int, default=8001, help="the demo API's port")

    def handle(self, *args: Any, port: int, api_port: int, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The passwords of the demo are well known, so it runs with DEBUG=true only.")
        for variable, number in (("PORT", port), ("API_PORT", api_port)):
            if _is_taken(number):
                raise CommandError(
                    f"Port {number} is taken by another program. Stop it, or choose another port: "
                    f"make run {variable}={number + 1000}"
                )
        call_command("migrate", verbosity=0)
        users = get_user_model().objects
        if not users.filter(username=STAFF_NAME).exists():
            users.create_superuser(STAFF_NAME, password=STAFF_PASSWORD)
        self.stdout.write(
            f"\n  The site       http://127.0.0.1:{port}/            the demo API prints its users below\n"
            f"  The admin      http://127.0.0.1:{port}/admin/      sign in as {STAFF_NAME} / {STAFF_PASSWORD}\n"
            f"  The demo API   http://127.0.0.1:{api_port}/            a separate program\n\n"
            "  Ctrl-C stops everything.\n"
        )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
