"""The settings: what the cookies are like, which proxies are believed, and what Django's system checks say."""

from django.conf import settings
from django.core.checks import CheckMessage, run_checks
from django.core.checks.messages import ERROR, WARNING
from django.db import Error as AnyDatabaseError

from accounts.conf import conf
from accounts.doctor.findings import Finding, Findings, Status, ok, unknown


def examine_configuration() -> Findings:
    yield _mode()
    yield _session_cookie()
    yield _proxies()
    yield from _checks()


def _mode() -> Finding:
    if not settings.DEBUG:
        return ok("settings.debug", f"Production (DEBUG is off), for {', '.join(settings.ALLOWED_HOSTS)}.")
    return ok("settings.debug", "A developer's machine (DEBUG is on): what production needs is noted, and no problem.")


def _session_cookie() -> Finding:
    secure = "Secure" if conf.cookie_secure else "not Secure"
    found = f"The session cookie is {conf.cookie_name!r}: {secure}, HttpOnly, SameSite={conf.cookie_samesite}, "
    return ok("cookies.session", f"{found}Path=/, no Domain.")


def _proxies() -> Finding:
    """What the settings mean; whether they are true only the deployed site can tell (`--url`)."""
    name, proxies = "proxies.trusted", conf.trusted_proxy_count
    redirects = "redirected to HTTPS" if settings.SECURE_SSL_REDIRECT else "answered"
    if proxies > 0:
        number = "One trusted proxy stands" if proxies == 1 else f"{proxies} trusted proxies stand"
        found = f"{number} in front of the site, X-Forwarded-For and X-Forwarded-Proto are believed, and plain HTTP is "
        found += f"{redirects}."
        return ok(name, found, "Ask the deployed site whether that is so: --url https://...")
    found = f"No proxy is trusted: address and scheme are those of the connection, and plain HTTP is {redirects}."
    return ok(name, found, "" if settings.DEBUG else "Where a proxy ends TLS, set TRUSTED_PROXY_COUNT.")


def _checks() -> Findings:
    """On a developer's machine, without what is for production only."""
    try:
        found = run_checks(include_deployment_checks=not settings.DEBUG)
    except AnyDatabaseError as error:
        # From Django 6.1 on, the checks of models ask the database what it can do.
        why = f"The system checks ask the database, which does not answer them: {type(error).__name__}."
        yield unknown("checks.all", why, "Mend the database first.")
        return
    messages = [message for message in found if not message.is_silenced()]
    if settings.DEBUG:
        yield ok("checks.deployment", "The system checks for production were left out, as DEBUG is on.")
    for message in messages:
        yield _check(message)
    if not messages:
        yield ok("checks.all", "The system checks have nothing to say.")


def _check(message: CheckMessage) -> Finding:
    name = f"checks.{message.id or 'unnamed'}"
    grave = Status.PROBLEM if message.level >= ERROR else Status.WARNING
    status = grave if message.level >= WARNING else Status.OK
    return Finding(name=name, status=status, found=message.msg, advice=message.hint or "")
