"""The public keys with which the provider checks that it was this site that signed (`private_key_jwt`)."""

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from accounts.dialects.client_authentication import UnusableKey, client_keys

# A new key is published so long before it signs.
_CACHE_SECONDS = 600


@login_not_required
@require_safe
@cache_control(public=True, max_age=_CACHE_SECONDS)
def jwks(request: HttpRequest) -> JsonResponse:
    """A JWK Set (RFC 7517 section 5) with every key in OAUTH_CLIENT_KEY; 404 without the setting."""
    try:
        keys = client_keys()
    except UnusableKey:
        keys = ()
    if not keys:
        raise Http404
    return JsonResponse({"keys": [key.public_jwk for key in keys]})
