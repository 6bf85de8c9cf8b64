"""`manage.py doctor`: examines the API, the keys, and with --url the deployed site from outside."""

import json
import sys
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.doctor.api import examine_api
from accounts.doctor.database import examine_database, has_several_hosts
from accounts.doctor.findings import Finding, Findings, Status, count, problem, worst
from accounts.doctor.keys import examine_keys
from accounts.doctor.provider import examine_provider
from accounts.doctor.provider import is_needed as has_provider
from accounts.doctor.site import examine_site
from accounts.text import parse_address

_STYLES = {Status.OK: "SUCCESS", Status.UNKNOWN: "NOTICE", Status.WARNING: "WARNING", Status.PROBLEM: "ERROR"}
_HEADINGS = {
    "keys": "Keys",
    "provider": "The OAuth provider",
    "api": "API",
    "database": "The hosts of the database",
    "site": "The deployed site",
}


class Command(BaseCommand):
    help = (
        "Examine the keys and the API, and with --url the deployed site from outside. The exit status is 1 for a "
        "problem, and 0 otherwise, also for warnings. The API gets a sign-in and refreshes that it must refuse."
    )
    # An error in the settings must not stop the examination of everything else.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        url_help = "examine the deployed site at its public address; run the command with the settings of that site"
        parser.add_argument("--url", type=_site_address, help=url_help)
        parser.add_argument("--json", action="store_true", dest="as_json", help="print the findings as JSON")
        path_help = "the path that a signed-in user may GET at the API (%(default)s)"
        parser.add_argument("--path", type=_api_path, default="/protected-route", help=path_help)

    def handle(self, *args: Any, url: str | None, as_json: bool, path: str, **options: Any) -> None:
        findings = list(_examine(path, url))
        if as_json:
            report = {"status": worst(findings), "findings": [asdict(finding) for finding in findings]}
            self.stdout.write(json.dumps(report, indent=2))
        else:
            self._print(findings)
        if worst(findings) is Status.PROBLEM:
            sys.exit(1)

    def _print(self, findings: Sequence[Finding]) -> None:
        for group, members in groupby(findings, key=lambda finding: finding.name.partition(".")[0]):
            self.stdout.write(f"\n{_HEADINGS[group]}")
            for finding in members:
                status = getattr(self.style, _STYLES[finding.status])(f"{finding.status:8}")
                self.stdout.write(f"  {status} {finding.name.partition('.')[2]}: {finding.found}")
                if finding.advice:
                    self.stdout.write(f"           -> {finding.advice}")
        self.stdout.write("\n`manage.py check --deploy --database default` checks the settings and the database.")
        numbers = Counter(finding.status for finding in findings)
        self.stdout.write(
            f"{count(numbers[Status.PROBLEM], 'problem')}, {count(numbers[Status.WARNING], 'warning')}, "
            f"{numbers[Status.UNKNOWN]} unknown, {numbers[Status.OK]} ok."
        )


def _examine(path: str, url: str | None) -> Findings:
    parts: dict[str, Callable[[], Findings]] = {"keys": examine_keys}
    if has_provider():
        parts["provider"] = lambda: examine_provider(url)
    parts["api"] = lambda: examine_api(path)
    if has_several_hosts():
        parts["database"] = examine_database
    if url is not None:
        parts["site"] = lambda: examine_site(url)
    for group, examine in parts.items():
        try:
            yield from examine()
        except Exception as error:  # noqa: BLE001  # the other parts still report; the error's text could hold a secret
            found = f"The examination failed: {type(error).__name__}."
            advice = "Run `manage.py check`. If it finds no error, please report this."
            yield problem(f"{group}.examination", found, advice)


def _site_address(text: str) -> str:
    if parse_address(text) is None:
        raise ArgumentTypeError("write it like https://www.example.com, without a user, a query or a fragment.")
    return text.rstrip("/")


def _api_path(text: str) -> str:
    if not text.startswith("/"):
        raise ArgumentTypeError("the path begins with a slash, and is relative to API_BASE_URL.")
    return text
