"""Access tokens of 6 KB, as Keycloak issues for users with many roles, through gunicorn's default header limits."""

import re
import secrets
import time
from collections.abc import Callable, Iterator

import jwt
import pytest

from tests.accounts.at_provider import PAGE, Person, begin
from tests.accounts.odd_provider import CLIENT_ID, OddProvider, signing_key
from tests.browsers import Browser, cookies_set
from tests.load.jar import MAX_COOKIE_BYTES
from tests.load.site import Site

SIX_KB = 6 * 1024


def token_with_roles() -> str:
    """A JWT of at least 6 KB: roles of the realm and of each client."""
    now = int(time.time())
    claims = {
        "exp": now + 300,
        "iat": now,
        "jti": secrets.token_hex(16),
        "iss": "https://login.example.com/realms/harbour",
        "aud": ["account", "tide-gauges", "moorings"],
        "sub": "ada-1",
        "azp": CLIENT_ID,
        "realm_access": {"roles": [f"harbour-{secrets.token_hex(4)}-reader" for _ in range(100)]},
        "resource_access": {
            f"client-{number}": {"roles": [f"{verb}-{secrets.token_hex(3)}" for verb in ("view", "edit", "manage")]}
            for number in range(24)
        },
        "scope": "openid profile email",
        "preferred_username": "ada",
    }
    return jwt.encode(claims, signing_key("one"), algorithm="RS256", headers={"kid": "one"})


def opaque_token() -> str:
    """Random text of 6 KB, which does not compress."""
    return secrets.token_urlsafe(SIX_KB * 3 // 4)


TOKENS: dict[str, Callable[[], str]] = {"a JWT with many roles": token_with_roles, "an opaque token": opaque_token}


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS)
def test_they_survive_sign_in_rotation_and_sign_out(
    odd_provider: OddProvider, newcomer: Browser, make: Callable[[], str]
) -> None:
    odd_provider.tokens = {"access_token": make}

    signing_in = newcomer.get(odd_provider.come_back(begin(newcomer)))
    first = newcomer.session().tokens.access
    size = len(first)
    assert newcomer.is_signed_in()
    odd_provider.expire_access_tokens()
    rotating = newcomer.open_page()

    assert rotating.status_code == 200
    assert size >= SIX_KB
    assert newcomer.session().generation == 1
    survived = newcomer.session().tokens.access == first
    assert not survived
    for answer in (signing_in, rotating):
        sizes = [len(cookie.OutputString()) for cookie in cookies_set(answer).values()]
        assert max(sizes) <= MAX_COOKIE_BYTES
    parts = {name for name in newcomer.take() if re.fullmatch(r"session(-\d)?", name)}
    signing_out = newcomer.sign_out()
    assert parts <= {name for name, cookie in signing_out.cookies.items() if not cookie.value}


@pytest.fixture(scope="module")
def running_provider_of_large_tokens() -> Iterator[OddProvider]:
    with OddProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def site(running_provider_of_large_tokens: OddProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site under gunicorn, with gunicorn's default limits."""
    site = Site(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}",
        api_url=running_provider_of_large_tokens.url,
        workers=1,
        threads=4,
        environment=running_provider_of_large_tokens.site_environment,
    )
    site.migrate()
    with site:
        yield site


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS)
class TestOverGunicorn:
    def test_they_survive_sign_in_rotation_and_sign_out(
        self, running_provider_of_large_tokens: OddProvider, site: Site, make: Callable[[], str]
    ) -> None:
        provider = running_provider_of_large_tokens
        provider.tokens = {"access_token": make}
        person = Person(site.port)

        assert person.open(provider.come_back(person.begin())).header("Location") == PAGE
        assert person.open(PAGE).status == 200
        for _ in range(2):
            provider.expire_access_tokens()
            assert person.open(PAGE).status == 200
            assert person.open(PAGE).status == 200
        assert person.open("/accounts/session/").json()["generation"] == 2
        assert person.sign_out().status == 200
        assert person.open(PAGE).status == 302

    def test_they_leave_room_for_the_sign_ins_of_other_tabs(
        self, running_provider_of_large_tokens: OddProvider, site: Site, make: Callable[[], str]
    ) -> None:
        """After the end of a session, the user may press the sign-in button in each of five tabs."""
        provider = running_provider_of_large_tokens
        provider.tokens = {"access_token": make}
        person = Person(site.port)
        places = [f"{PAGE}?rows={number}&station=Old+Harbour&from=2026-01-01&to=2026-01-31" for number in range(5)]
        backs = [provider.come_back(person.begin(place)) for place in places]

        statuses = [person.open(backs[0]).status, person.open(PAGE).status, person.open(backs[1]).status]

        assert statuses == [302, 200, 302]


def test_unfinished_sign_ins_do_not_fill_the_header(running_provider_of_large_tokens: OddProvider, site: Site) -> None:
    """Their `next` may be long. With a header that is too large, every page would respond with 431."""
    provider = running_provider_of_large_tokens
    provider.tokens = {}
    person = Person(site.port)
    backs = [provider.come_back(person.begin(f"{PAGE}?note={'a' * 1900}&rows={number}")) for number in range(6)]

    statuses = [person.open(backs[-1]).status, person.open(PAGE).status]

    assert statuses == [302, 200]
