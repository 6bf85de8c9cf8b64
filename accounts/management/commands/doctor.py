"""`manage.py doctor`: is everything there that this site needs, and in good order?"""

import json
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import asdict
from getpass import getpass
from itertools import groupby
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.doctor.api_session import Credentials
from accounts.doctor.examination import examine
from accounts.doctor.findings import Finding, Status, count, worst
from accounts.doctor.network import read_address

PASSWORD_VARIABLE = "DOCTOR_PASSWORD"  # noqa: S105  # its name
_HEADINGS = {"api": "API", "checks": "System checks", "proxies": "Proxies", "site": "The deployed site"}


class Command(BaseCommand):
    help = (
        "Look at keys, database, API, clocks, cookies and proxies, and with --url at the deployed site from outside. "
        "Exit status 1 where something is a problem; 0 otherwise, also with warnings. The API sees one sign-in and one "
        "refresh that it has to refuse."
    )
    # It is to say what is wrong with the settings, and not to stop at the first error.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url",
            type=_site_address,
            help="ask the deployed site too, at its public address; run this with the settings of that site",
        )
        parser.add_argument("--json", action="store_true", dest="as_json", help="findings as JSON")
        parser.add_argument(
            "--username",
            help=f"sign in at the API, call, refresh and revoke; asks for the password, or takes {PASSWORD_VARIABLE}",
        )
        parser.add_argument(
            "--path",
            type=_api_path,
            default="/protected-route",
            help="what a signed-in user may GET at the API (%(default)s)",
        )

    def handle(
        self,
        *args: Any,
        url: str | None,
        as_json: bool,
        username: str | None,
        path: str,
        **options: Any,
    ) -> None:
        credentials = Credentials(username, _password()) if username else None
        findings = list(examine(path=path, credentials=credentials, url=url))
        if as_json:
            self.stdout.write(_as_json(findings))
        else:
            self._print(findings)
        if worst(findings) is Status.PROBLEM:
            sys.exit(1)

    def _print(self, findings: Sequence[Finding]) -> None:
        styles = {
            Status.OK: self.style.SUCCESS,
            Status.UNKNOWN: self.style.NOTICE,
            Status.WARNING: self.style.WARNING,
            Status.PROBLEM: self.style.ERROR,
        }
        for group, members in groupby(findings, key=lambda finding: finding.group):
            self.stdout.write(f"\n{_HEADINGS.get(group, group.capitalize())}")
            for finding in members:
                self.stdout.write(f"  {styles[finding.status](f'{finding.status:8}')} {finding.thing}: {finding.found}")
                if finding.advice:
                    self.stdout.write(f"           -> {finding.advice}")
        self.stdout.write(f"\n{_summary(findings)}")


def _summary(findings: Sequence[Finding]) -> str:
    numbers = {status: sum(finding.status is status for finding in findings) for status in Status}
    return (
        f"{count(numbers[Status.PROBLEM], 'problem')}, {count(numbers[Status.WARNING], 'warning')}, "
        f"{numbers[Status.UNKNOWN]} unknown, {numbers[Status.OK]} ok."
    )


def _as_json(findings: Sequence[Finding]) -> str:
    return json.dumps({"status": worst(findings), "findings": [asdict(finding) for finding in findings]}, indent=2)


def _password() -> str:
    """Never an argument: every user of a machine can read those."""
    password = os.environ.get(PASSWORD_VARIABLE) or (getpass("Password: ") if sys.stdin.isatty() else "")
    if not password:
        raise CommandError(f"There is no terminal to ask for the password; set {PASSWORD_VARIABLE}.")
    return password


def _site_address(text: str) -> str:
    if read_address(text) is None:
        raise ArgumentTypeError("it looks like https://www.example.com: no user, no query, no fragment.")
    return text.rstrip("/")


def _api_path(text: str) -> str:
    if not text.startswith("/"):
        raise ArgumentTypeError("it begins with a slash, and is relative to API_BASE_URL.")
    return text
