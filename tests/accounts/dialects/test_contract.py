"""The dialects' common contract, of the built-in ones against live servers."""

from collections.abc import Callable, Iterator

import pytest
from django.test import override_settings

from accounts.dialects.base import SignedIn
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.dialects.simplejwt import SimpleJwtDialect
from accounts.dialects.testing import DialectContract
from accounts.dialects.token_pair import TokenPairDialect
from accounts.session.tokens import TokenPair
from tests.accounts.at_provider import forget_documents, query_of
from tests.browsers import ADA
from tests.demo_api.server import DEMO_USERS, DemoApi
from tests.real_apis.apis import OAuthProvider, SimpleJwtApi
from tests.real_apis.visitor import Visitor


class TestTokenPair(DialectContract):
    dialect = TokenPairDialect()
    username, password, protected_path = ADA, DEMO_USERS[ADA], "/protected-route"
    api: DemoApi

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls) -> Iterator[None]:
        with DemoApi() as cls.api:
            cls.base_url = cls.api.url
            yield

    def expire_access_token(self, tokens: TokenPair) -> None:
        self.api.expire_access_tokens()


class TestSimpleJwt(DialectContract):
    dialect = SimpleJwtDialect()
    username, password, protected_path = ADA, DEMO_USERS[ADA], "/protected-route"
    make: Callable[[], SimpleJwtApi] = SimpleJwtApi
    api: SimpleJwtApi

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls) -> Iterator[None]:
        with cls.make() as cls.api:
            cls.base_url = cls.api.url
            yield

    def setup_method(self) -> None:
        super().setup_method()
        self._cleanup.enter_context(override_settings(**self.api.site_environment))

    def expire_access_token(self, tokens: TokenPair) -> None:
        self.api.expire_access_tokens()


class TestSimpleJwtWithoutRotation(TestSimpleJwt):
    make = staticmethod(lambda: SimpleJwtApi(rotation=False))
    refuses_spent_tokens = False


class TestSimpleJwtWithoutBlacklist(TestSimpleJwt):
    make = staticmethod(lambda: SimpleJwtApi(blacklist=False))
    refuses_spent_tokens = refuses_revoked_tokens = False


class TestSimpleJwtWithUsersByEmail(TestSimpleJwt):
    make = staticmethod(lambda: SimpleJwtApi(username_field="email"))


class TestOAuth2(DialectContract):
    dialect: OAuth2Dialect = OAuth2Dialect()
    protected_path = "/protected-route"
    redirect_uri = "http://testserver/accounts/callback/"
    state, nonce, code_verifier = "s" * 32, "n" * 32, "v" * 43
    api: OAuthProvider

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls) -> Iterator[None]:
        with OAuthProvider() as cls.api:
            cls.api.register_site("http://testserver")
            cls.base_url = cls.api.url
            yield

    def setup_method(self) -> None:
        super().setup_method()
        self._cleanup.enter_context(override_settings(**self.api.site_environment))
        forget_documents()

    def sign_in(self) -> SignedIn:
        """Somebody does at the provider's pages what they ask."""
        url = self.dialect.authorization_url(
            redirect_uri=self.redirect_uri, state=self.state, nonce=self.nonce, code_verifier=self.code_verifier
        )
        back = query_of(Visitor().follow(url))
        assert back["state"] == self.state
        self.dialect.check_issuer(back.get("iss"))
        call = self.dialect.redeem(back["code"], redirect_uri=self.redirect_uri, code_verifier=self.code_verifier)
        return self.dialect.read_redeemed(self.ask(call), nonce=self.nonce)

    def expire_access_token(self, tokens: TokenPair) -> None:
        self.api.expire_access_tokens()
