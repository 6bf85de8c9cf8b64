"""Who may sign in at the demo API. Public on purpose: these open nothing but made-up tide readings."""

DEMO_USERS: dict[str, str] = {
    "ada@example.com": "tide-table",
    "grace@example.com": "harbour-light",
    "guest@example.com": "north-pier",
}
"""E-mail address -> password."""


def user_claim(email: str) -> dict[str, int | str]:
    """What the access token says about its user: `id` (a number that never changes) and `email`."""
    return {"id": list(DEMO_USERS).index(email) + 1, "email": email}
