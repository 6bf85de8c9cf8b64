"""The contract of the dialects: the built-in ones against live servers."""

from collections.abc import Iterator
from typing import ClassVar

import pytest
from django.test import override_settings

from accounts.dialects.base import SignedIn
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.dialects.simplejwt import SimpleJwtDialect
from accounts.dialects.testing import DialectContract
from accounts.dialects.token_pair import TokenPairDialect
from accounts.session.tokens import TokenPair
from accounts.upstream.dpop import new_key
from tests.accounts.at_provider import forget_documents, query_of
from tests.accounts.conftest import SimpleJwtStarter
from tests.browsers import ADA
from tests.demo_api.server import DEMO_USERS, DemoApi
from tests.real_apis.apis import AnyProvider, OAuthProvider, SimpleJwtApi
from tests.real_apis.oidc import OidcProvider
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
    options: ClassVar[dict[str, object]] = {}
    api: SimpleJwtApi

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls, shared_simplejwt: SimpleJwtStarter) -> None:
        cls.api = shared_simplejwt(**cls.options)
        cls.base_url = cls.api.url

    def setup_method(self) -> None:
        super().setup_method()
        self._cleanup.enter_context(override_settings(**self.api.site_environment))

    def expire_access_token(self, tokens: TokenPair) -> None:
        self.api.expire_access_tokens()


class TestSimpleJwtWithoutRotation(TestSimpleJwt):
    options: ClassVar = {"rotation": False}
    refuses_spent_tokens = False


class TestSimpleJwtWithoutBlacklist(TestSimpleJwt):
    options: ClassVar = {"blacklist": False}
    refuses_spent_tokens = refuses_revoked_tokens = False


class TestSimpleJwtWithUsersByEmail(TestSimpleJwt):
    options: ClassVar = {"username_field": "email"}


class TestOAuth2(DialectContract):
    dialect: OAuth2Dialect = OAuth2Dialect()
    protected_path = "/protected-route"
    redirect_uri = "http://testserver/accounts/callback/"
    state, nonce, code_verifier, dpop_key = "s" * 32, "n" * 32, "v" * 43, ""
    api: AnyProvider

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls, running_provider: OAuthProvider) -> None:
        cls.api = running_provider
        cls.base_url = cls.api.url

    def setup_method(self) -> None:
        super().setup_method()
        self._cleanup.enter_context(override_settings(**self.api.site_environment))
        forget_documents()

    def sign_in(self) -> SignedIn:
        """A user follows the provider's pages."""
        url = self.dialect.authorization_url(
            redirect_uri=self.redirect_uri, state=self.state, nonce=self.nonce, code_verifier=self.code_verifier
        )
        back = query_of(Visitor().follow(url))
        assert back["state"] == self.state
        self.dialect.check_issuer(back.get("iss"))
        key = {"dpop_key": self.dpop_key}
        call = self.dialect.redeem(
            back["code"], redirect_uri=self.redirect_uri, code_verifier=self.code_verifier, **key
        )
        return self.dialect.read_redeemed(self.ask(call), nonce=self.nonce, **key)

    def expire_access_token(self, tokens: TokenPair) -> None:
        self.api.expire_access_tokens()


class TestOAuth2WithBoundTokens(TestOAuth2):
    dpop_key = new_key()

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls) -> Iterator[None]:
        with OidcProvider(dpop=True, dpop_nonces=True) as cls.api:
            cls.api.register_site("http://testserver")
            cls.base_url = cls.api.url
            yield
