"""What a user is told about a sign-in at the provider that has failed."""

UNKNOWN_SIGN_IN = (
    "This browser did not begin this sign-in, or began it more than 15 minutes ago, or has completed it already. "
    "That happens when you open an old page again, or when cookies are disabled."
)
PROVIDER_UNAVAILABLE = "The service that signs you in is not answering. Please try again in a moment."
PROVIDER_UNUSABLE = (
    "The service that signs you in sent a response that this site cannot use. If it happens again, tell the operator "
    "of this site. The log has the details."
)
REQUEST_REFUSED = (
    "The service that signs you in refused to begin this sign-in. If it happens again, tell the operator of this site. "
    "The log has the details."
)
TOO_MANY_BEGUN = "Too many sign-ins have begun at the address of this browser. Please try again in {}."
_NEEDS_INTERACTION = "The service that signs you in wants to ask you something first. Please try again."
_CANNOT_STEP_UP = "The service that signs you in cannot sign you in in the way that the page needs."
#: Errors in the provider's redirect to the callback (RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6).
PROVIDER_ERRORS = {
    "access_denied": ("The sign-in was declined, by you or by the service that signs you in.", 403),
    "temporarily_unavailable": (PROVIDER_UNAVAILABLE, 503),
    "server_error": (PROVIDER_UNAVAILABLE, 503),
    "login_required": (_NEEDS_INTERACTION, 403),
    "consent_required": (_NEEDS_INTERACTION, 403),
    "interaction_required": (_NEEDS_INTERACTION, 403),
    "account_selection_required": (_NEEDS_INTERACTION, 403),
    # A pushed authorization request has expired (RFC 9126): the browser opened the provider's page again.
    "invalid_request_uri": ("This sign-in took too long. Please try again.", 400),
    "unmet_authentication_requirements": (_CANNOT_STEP_UP, 403),
}
