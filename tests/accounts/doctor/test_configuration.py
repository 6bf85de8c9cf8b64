"""What the doctor says of the settings: in words, and with what Django's system checks find."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.core.checks.registry import registry
from django.db import OperationalError
from pytest_django import Settings

from accounts.doctor.configuration import examine_configuration
from accounts.doctor.findings import Finding, Status, worst
from tests.accounts.checks.test_deployment import production

# Django's own checks ask the database what it can do, from 6.1 on without being told to.
pytestmark = pytest.mark.django_db

__all__ = ["production"]


@pytest.fixture
def database_that_is_away() -> Iterator[None]:
    """A system check that asks for it, as Django's own do from 6.1 on."""

    def ask(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
        raise OperationalError("unable to open database file")

    before = registry.registered_checks.copy()
    registry.register(ask)
    yield
    registry.registered_checks = before


def examined() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine_configuration()}


def test_production_as_it_comes_is_well(production: Settings) -> None:
    production.SECURE_SSL_REDIRECT = production.SESSION_COOKIE_SECURE = production.CSRF_COOKIE_SECURE = True
    production.SECURE_HSTS_SECONDS = 365 * 24 * 3600
    production.SECURE_HSTS_INCLUDE_SUBDOMAINS = production.SECURE_HSTS_PRELOAD = True

    findings = examined()

    assert {finding.status for finding in findings.values()} == {Status.OK}
    assert {*findings} == {"settings.debug", "cookies.session", "proxies.trusted", "checks.all"}
    assert "'__Host-session': Secure, HttpOnly, SameSite=Lax" in findings["cookies.session"].found
    assert "TRUSTED_PROXY_COUNT" in findings["proxies.trusted"].advice


def test_what_the_system_checks_find_is_listed(production: Settings) -> None:
    production.API_SESSION_KEYS = ["short"]
    production.SECURE_SSL_REDIRECT = False

    findings = examined()

    assert findings["checks.accounts.E001"].status is Status.PROBLEM
    assert findings["checks.security.W008"].status is Status.WARNING
    assert "checks.all" not in findings


def test_what_was_silenced_is_not(production: Settings) -> None:
    production.API_SESSION_KEYS = ["short"]
    production.SILENCED_SYSTEM_CHECKS = ["accounts.E001"]

    assert "checks.accounts.E001" not in examined()


@pytest.mark.usefixtures("database_that_is_away")
def test_system_checks_that_a_database_does_not_answer_are_left_out(production: Settings) -> None:
    findings = examined()

    assert findings["checks.all"].status is Status.UNKNOWN
    assert "does not answer them: OperationalError" in findings["checks.all"].found


@pytest.mark.parametrize(("count", "words"), [(1, "One trusted proxy stands"), (2, "2 trusted proxies stand")])
def test_how_many_proxies_are_believed(production: Settings, count: int, words: str) -> None:
    production.TRUSTED_PROXY_COUNT = count

    assert words in examined()["proxies.trusted"].found


def test_a_developers_machine_is_told_apart(settings: Settings) -> None:
    settings.DEBUG = True

    findings = examined()

    assert worst(findings.values()) is Status.OK
    assert "DEBUG is on" in findings["settings.debug"].found
    assert "checks.deployment" in findings
    assert "not Secure" in findings["cookies.session"].found
