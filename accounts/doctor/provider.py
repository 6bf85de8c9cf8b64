"""The OAuth 2.0 provider: its discovery document, who can reach its endpoints, and whether it accepts this client."""

import secrets
import time
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.urls import reverse

from accounts.browser.client_address import is_private
from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import error_code, refusal_by_code, unknown
from accounts.dialects.client_authentication import UnusableKey, authentication_method, client_keys
from accounts.dialects.discovery import ENDPOINTS, Provider, current_provider, discovery_document
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.doctor.findings import Finding, Findings, ok, problem, warning
from accounts.doctor.network import TROUBLE, origin_of, read_json, request
from accounts.exceptions import ApiError, ApiUnavailable
from accounts.session.tokens import receive_pair
from accounts.upstream.calls import ApiAnswer
from accounts.upstream.dpop import PROOF_REFUSED, new_key
from accounts.upstream.failure_reasons import describe_failure
from accounts.upstream.transport import AnswerLost, NotSent, call_with_nonce

#: The browser goes there, and not only this site.
_FOR_BROWSERS = ("authorization_endpoint", "end_session_endpoint")
#: `Date` counts whole seconds, and the response was under way.
_CLOCK_SECONDS = 5.0
_SETTINGS = ("authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri")


def is_needed() -> bool:
    """Whether the dialect has a provider. `manage.py check` reports a dialect that cannot be loaded."""
    with suppress(ImportError, AttributeError, TypeError, ValueError):
        return isinstance(current_dialect(), OAuth2Dialect)
    return False


def examine_provider(site: str | None) -> Findings:
    """`site` is the public address of the deployed site, if it is known. Nothing is changed at the provider."""
    try:
        document = discovery_document()
        yield from examine_endpoints(document)
        provider = current_provider()
    except ApiError as error:
        advice = "Set OAUTH_ISSUER to the exact issuer of the document, or correct the document at the provider."
        if isinstance(error, ApiUnavailable):
            advice = (
                "Check OAUTH_ISSUER, this host's DNS resolver, and the firewalls between this site and the provider."
            )
        yield problem("provider.document", f"The provider cannot be used: {error}.", advice)
        return
    yield _pushed_requests(provider, is_required=document.get("require_pushed_authorization_requests") is True)
    if conf.oauth_dpop:
        yield _dpop(document.get("dpop_signing_alg_values_supported"))
    yield from _keys(provider, site)
    yield from _client(provider)


def examine_endpoints(document: dict[str, Any]) -> Findings:
    """The endpoints of a discovery document that are on another scheme or host than the issuer (split horizon)."""
    endpoints = {name: document.get(name) for name in ENDPOINTS if name not in conf.oauth_endpoints}
    # `current_provider` reports what is no URL.
    findings = [_endpoint(name, url) for name, url in endpoints.items() if isinstance(url, str) and origin_of(url)]
    elsewhere = [finding for finding in findings if finding is not None]
    yield from elsewhere or [ok("provider.endpoints", "The endpoints have the scheme and the host of the issuer.")]


def _endpoint(name: str, url: str) -> Finding | None:
    issuer, endpoint = urlsplit(conf.oauth_issuer), urlsplit(url)
    host, issuer_host = endpoint.hostname or "", issuer.hostname or ""
    finding = f"provider.{name.replace('_', '-')}"
    found = f"The document names {origin_of(url)}, but the issuer is at {origin_of(conf.oauth_issuer)}"
    advice = "Give the provider its public address there (Keycloak: KC_HOSTNAME; behind a proxy, also its headers)"
    if name in _SETTINGS:
        who = "browsers" if name in _FOR_BROWSERS else "this site"
        advice += f", or set OAUTH_{name.upper()} to the address at which {who} can reach it"
    advice += "."
    if endpoint.scheme != issuer.scheme:
        if issuer.scheme == "https":
            return problem(finding, f"{found}. This site refuses that.", advice)
        return warning(finding, f"{found}.", advice)
    if is_private(host) != is_private(issuer_host):
        return (problem if name in _FOR_BROWSERS else warning)(finding, f"{found}. One of them is private.", advice)
    has_short_name = name in _FOR_BROWSERS and "." not in host.replace(":", ".")
    # A developer's own browser may know the name of the issuer.
    if has_short_name and not (settings.DEBUG and host in (issuer_host, "localhost")):
        found = f"The document names {origin_of(url)}, a host name that browsers outside of your network do not know."
        return warning(finding, found, advice)
    return ok(finding, f"{found}. Both can be right.") if host != issuer_host else None


def _pushed_requests(provider: Provider, *, is_required: bool) -> Finding:
    name, endpoint = "provider.par", provider.pushed_authorization_request_endpoint
    if conf.oauth_par == "never" and is_required:
        return problem(name, "The provider requires pushed authorization requests.", "Set OAUTH_PAR=auto.")
    if conf.oauth_par == "always" and not endpoint:
        found = "OAUTH_PAR is always, but the provider offers no pushed authorization requests."
        return problem(name, found, "Set OAUTH_PAR=auto, or switch them on at the provider.")
    are_pushed = bool(endpoint) and conf.oauth_par != "never"
    return ok(name, f"Authorization requests are {'pushed' if are_pushed else 'not pushed'} (RFC 9126).")


def _dpop(algorithms: object) -> Finding:
    name = "provider.dpop"
    if isinstance(algorithms, list) and "ES256" in algorithms:
        return ok(name, "The provider accepts DPoP proofs with ES256 (RFC 9449).")
    lacks = "ES256 for DPoP proofs" if algorithms else "DPoP"
    found = f"OAUTH_DPOP is on, but the provider's document does not name {lacks}."
    return warning(name, found, "Users cannot sign in. Switch DPoP on at the provider, or set OAUTH_DPOP=false.")


def _clock(answer: ApiAnswer) -> Finding | None:
    """Whether the provider's clock agrees with this host's: a DPoP proof says when it was made."""
    try:
        ahead = parsedate_to_datetime(answer.headers.get("date", "")).timestamp() - time.time()
    except ValueError:
        return None
    name = "provider.clock"
    if abs(ahead) <= _CLOCK_SECONDS:
        return ok(name, "The provider's clock agrees with this host's.")
    found = f"The provider's clock is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} this host's."
    return warning(name, found, "Set both by NTP. Servers refuse a DPoP proof that is too old, or not yet made.")


def _keys(provider: Provider, site: str | None) -> Findings:
    """The client's own keys."""
    try:
        keys = client_keys()
    except UnusableKey as error:
        yield problem("provider.keys", f"{error}.", "Run `manage.py check`.")
        return
    for number, key in enumerate(keys, 1):
        name, found = f"provider.key-{number}", f"Key {number} of OAUTH_CLIENT_KEY ({key.kind}, id {key.kid})"
        accepted = provider.token_endpoint_auth_algorithms
        algorithm = key.algorithm(accepted)
        if number > 1:
            yield ok(name, f"{found} is published.")
        elif accepted and algorithm not in accepted:
            found += f" signs with {algorithm}, but the provider names only {', '.join(accepted)}."
            yield warning(name, found, "Use a key of a kind that the provider accepts.")
        else:
            yield ok(name, f"{found} signs with {algorithm}.")
    if keys and site is not None:
        yield _published(site, [key.kid for key in keys])


def _published(site: str, ids: list[str]) -> Finding:
    name, url = "provider.jwks", site + reverse("accounts:jwks")
    try:
        with request("GET", url) as response:
            status, body = response.status_code, read_json(response)
    except TROUBLE as error:
        return problem(
            name, f"{url} gets no response: {describe_failure(error)}.", "The provider reads its keys there."
        )
    keys = body.get("keys") if isinstance(body, dict) else None
    published = [key.get("kid") for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []
    if status == 200 and published == ids:
        return ok(name, f"{url} has the public keys.")
    found = f"{url} does not have the keys of this OAUTH_CLIENT_KEY (status {status})."
    return problem(
        name, found, "Give all hosts the same OAUTH_CLIENT_KEY, start them again, and let proxies pass it on."
    )


def _client(provider: Provider) -> Findings:
    """A refresh with a made-up token. The provider checks the client first."""
    name, method = "provider.client", authentication_method(provider)
    how = "without a secret, as a public client" if method == "none" else f"with {method}"
    try:
        tokens = receive_pair(secrets.token_urlsafe(), secrets.token_urlsafe())
        tokens = replace(tokens, dpop_key=new_key() if conf.oauth_dpop else "")
        ends_at = time.monotonic() + conf.attempt_seconds
        answer = call_with_nonce(lambda: current_dialect().refresh(tokens), address="", ends_at=ends_at)
    except (ApiError, NotSent, AnswerLost) as error:
        yield problem(name, f"The token endpoint gives no response: {error}.", "Check its address and the firewalls.")
        return
    if conf.oauth_dpop and (clock := _clock(answer)) is not None:
        yield clock
    yield _accepted(answer, how, method)


def _accepted(answer: ApiAnswer, how: str, method: str) -> Finding:
    name, error_of_client = "provider.client", error_code(answer)
    if error_of_client in ("invalid_client", "unauthorized_client"):
        advice = "Check OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET."
        if method == "private_key_jwt":
            advice = (
                f"Check OAUTH_CLIENT_ID and this host's clock. Register {reverse('accounts:jwks')} at the provider, or "
                "the JSON of that page. It may still have older keys."
            )
        found = f"The provider does not accept this client {how}: error {error_of_client}."
        return problem(name, found, f"{advice} OAUTH_CLIENT_AUTH chooses another method.")
    if error_of_client == PROOF_REFUSED:
        found = "The provider refuses this site's DPoP proof."
        return problem(name, found, "Set both clocks by NTP. The address of its token endpoint has to be its own.")
    if refusal_by_code(answer) is None:
        found = f"It is not known whether the provider accepts this client {how}: {unknown(answer).why}."
        return warning(name, found, "Is the client allowed to use the grant refresh_token?")
    return ok(name, f"The provider accepts this client {how}.")
