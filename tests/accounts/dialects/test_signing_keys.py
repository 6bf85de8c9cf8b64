"""The provider's signing keys: which key checks an ID token, and when the site fetches them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.accounts.at_provider import begin, sign_in_at_provider, whoami
from tests.accounts.odd_provider import KEYS, TOKEN, OddProvider, published, signed
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import Answer, Browser, wait_until
from tests.demo_api.messages import Answer as Reply
from tests.demo_api.server import Fault, Gate
from tests.real_apis.apis import OAuthProvider

#: accounts.dialects.discovery fetches again for an unknown key after so long.
PAUSE_SECONDS = 5


def sign_in(provider: OddProvider, browser: Browser) -> Answer:
    return browser.get(provider.come_back(begin(browser)))


class TestWhichKey:
    @pytest.mark.parametrize(
        ("keys", "kid"),
        [
            ([published("one")], None),
            ([published("one", kid=None)], None),
            ([published("one"), published("two", use="enc")], None),
            ([published("two"), published("one", kid=None)], None),
            ([published("one"), published("two")], "one"),
            ([published("two", kid="one", use="enc"), published("one")], "one"),
            ([published("one", use=None)], "one"),
            ([published("one", alg=None)], "one"),
            (["junk", None, 5, {}, published("one")], "one"),
            ([published("two"), published("one")], None),
            ([published("two", kid=None), published("one", kid=None)], None),
            ([published("two", kid="one"), published("one")], "one"),
            ([published("one"), published("one")], "one"),
            ([published("one", use=None, key_ops=["verify"])], "one"),
            ([published("two", kid="one", use=None, key_ops=["encrypt"]), published("one")], "one"),
            ([published("two", kid="one", alg="PS256"), published("one")], "one"),
            ([{"kid": "one", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, published("one")], "one"),
            ([{**published("one"), "use": None, "alg": None, "key_ops": None}], "one"),
            ([{**published("one"), "kid": "", "use": "", "alg": "", "key_ops": []}], "one"),
            ([*[published("two")] * 150, published("one")], "one"),
        ],
        ids=[
            "the only one, and none is named",
            "the only one, without a name",
            "the only one that signs",
            "the only one without a name",
            "the one that is named",
            "the one of that name that signs",
            "one that does not say what it is for",
            "one that names no algorithm",
            "one among junk",
            "one of two, and none is named",
            "one of two without a name",
            "one of two with the same name",
            "the same one twice",
            "one with key_ops instead of use",
            "the one whose key_ops allow it",
            "the one of that name and algorithm",
            "the one of that name and type",
            "one with null for what it does not say",
            "one that is empty where it does not say",
            "the one of that name after many",
        ],
    )
    def test_one_that_is_clear(
        self, odd_provider: OddProvider, newcomer: Browser, keys: list[object], kid: str | None
    ) -> None:
        odd_provider.keys = keys
        odd_provider.sign = lambda claims: signed(claims, "one", kid=kid)

        assert sign_in(odd_provider, newcomer).status_code == 302
        assert whoami(newcomer) == "Ada"

    @pytest.mark.parametrize(
        ("keys", "kid"),
        [
            ([published("one", use="enc")], "one"),
            ([published("one", use="enc")], None),
            ([published("one", use=None, key_ops=["encrypt"])], "one"),
            ([published("one", use=None, key_ops="verify")], "one"),
            ([published("one", alg="PS256")], "one"),
            ([published("two", kid="one"), published("two", kid="one")], "one"),
            ([published("one")], "ONE"),
            ([published("one")], ""),
            ([published("two")], None),
            ([], "one"),
            ([{"kid": "one", "kty": "oct", "k": "c2VjcmV0" * 8}], "one"),
            ([{"kid": "one", "kty": "RSA"}], "one"),
            ([{"kid": "one", "kty": "RSA", "n": 5, "e": 3}], "one"),
            ([{"kid": "one", "kty": "RSA", "n": "AQAB", "e": "AQAB"}], "one"),
            ([{"kid": "one", "kty": ["RSA"]}], "one"),
            ([{"kid": "one"}], "one"),
        ],
        ids=[
            "not for signatures",
            "not for signatures, and none is named",
            "key_ops without verify",
            "key_ops that are no list",
            "another algorithm",
            "two of that name, and neither signed",
            "another case",
            "an empty name",
            "somebody else's, and none is named",
            "none",
            "a secret",
            "half a key",
            "numbers that are none",
            "a modulus for children",
            "a type that is none",
            "a name alone",
        ],
    )
    def test_none_that_is_not(
        self, odd_provider: OddProvider, newcomer: Browser, keys: list[object], kid: str | None
    ) -> None:
        odd_provider.keys = keys
        odd_provider.sign = lambda claims: signed(claims, "one", kid=kid)

        assert sign_in(odd_provider, newcomer).status_code == 502
        assert whoami(newcomer) is None


class TestWhenTheyAreFetched:
    @pytest.mark.parametrize("keep_old", [True, False])
    def test_a_new_key_of_a_real_provider_is_fetched_at_once(
        self, provider: OAuthProvider, newcomer: Browser, keep_old: bool
    ) -> None:
        with movable_clock(stopped=True) as clock:
            sign_in_at_provider(newcomer)
            clock.ahead += PAUSE_SECONDS + 1
            provider.rotate_signing_key(keep_old=keep_old)

            assert sign_in_at_provider(newcomer).status_code == 302
            assert sign_in_at_provider(newcomer).status_code == 302

        assert provider.count("GET", "/o/.well-known/jwks.json") == 2

    def test_a_flood_of_unknown_keys_does_not_become_a_flood_of_requests(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        with movable_clock(stopped=True) as clock:
            sign_in(odd_provider, newcomer)
            clock.ahead += PAUSE_SECONDS + 1
            odd_provider.sign = lambda claims: signed(claims, "two")
            for _ in range(10):
                assert sign_in(odd_provider, Browser()).status_code == 502
            assert odd_provider.count("GET", KEYS) == 2

            # Tokens with a known key still work.
            odd_provider.sign = signed
            assert sign_in(odd_provider, Browser()).status_code == 302
            clock.ahead += PAUSE_SECONDS + 1
            odd_provider.sign = lambda claims: signed(claims, "two")
            odd_provider.keys = [published("one"), published("two")]
            assert sign_in(odd_provider, Browser()).status_code == 302
            assert odd_provider.count("GET", KEYS) == 3

    def test_nor_does_a_flood_while_they_cannot_be_fetched(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.fail("GET", KEYS, Fault.answer(503), times=None)

        with movable_clock(stopped=True):
            for _ in range(5):
                assert sign_in(odd_provider, Browser()).status_code == 503

        assert odd_provider.count("GET", KEYS) == 1

    def test_known_ones_will_do_while_they_cannot_be_fetched(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        with movable_clock(stopped=True) as clock:
            sign_in(odd_provider, newcomer)
            odd_provider.fail("GET", KEYS, Fault.reset(), times=None)
            clock.ahead += 2 * 3600
            assert sign_in(odd_provider, newcomer).status_code == 302

            odd_provider.sign = lambda claims: signed(claims, "two")
            clock.ahead += PAUSE_SECONDS + 1
            assert sign_in(odd_provider, Browser()).status_code == 503

    @pytest.mark.parametrize(
        "keys",
        [
            Reply.json(200, {"keys": "none"}),
            Reply.json(200, {"keys": None}),
            Reply.json(200, {}),
            Reply.json(200, []),
            Reply.json(404, {"error": "not_found"}),
            Reply(200, b"<h1>Welcome</h1>", {"Content-Type": "text/html"}),
            Reply(200, b'{"keys": ' + b"[" * 100_000),
        ],
        ids=["a word", "null", "nothing", "a list", "404", "HTML", "nested beyond measure"],
    )
    def test_what_is_no_set_of_keys(self, odd_provider: OddProvider, newcomer: Browser, keys: Reply) -> None:
        odd_provider.answers[KEYS] = keys

        assert sign_in(odd_provider, newcomer).status_code == 502

    def test_a_provider_that_names_no_keys(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.metadata = {"jwks_uri": None}

        assert sign_in(odd_provider, newcomer).status_code == 502

    def test_those_who_sign_in_at_the_same_time_share_one_fetch(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        browsers = [Browser() for _ in range(6)]
        backs = [odd_provider.come_back(begin(browser)) for browser in browsers]

        with Gate() as gate, ThreadPoolExecutor(len(browsers)) as pool:
            odd_provider.fail("GET", KEYS, Fault.hold_after(gate))
            answers = pool.map(Browser.get, browsers, backs)
            wait_until(lambda: odd_provider.count("POST", TOKEN) == len(browsers))
            gate.release()

            assert [answer.status_code for answer in answers] == [302] * len(browsers)
        assert odd_provider.count("GET", KEYS) == 1
