"""The dialects' common contract, against live servers: the built-in ones, and the one that the README shows."""

from collections.abc import Iterator

import pytest

from accounts.dialects.testing import DialectContract
from accounts.dialects.token_pair import TokenPairDialect
from accounts.tokens import TokenPair
from tests.browsers import ADA
from tests.demo_api.server import DEMO_USERS, DemoApi


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
