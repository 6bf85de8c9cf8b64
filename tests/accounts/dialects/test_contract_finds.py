"""The contract finds the mistakes of a dialect: here, one mistake each in a dialect that is otherwise right."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from accounts.dialects import base
from accounts.dialects.testing import DialectContract
from accounts.dialects.token_pair import TokenPairDialect
from accounts.session.tokens import TokenPair
from accounts.upstream.calls import ApiAnswer
from tests.browsers import ADA
from tests.demo_api.server import DEMO_USERS, DemoApi

#: What a dialect with a mistake makes of the response, of its JSON, and of the right outcome.
Mistake = Callable[[ApiAnswer, dict[str, object], base.RefreshOutcome], base.RefreshOutcome]

UNKNOWN = base.Unknown("a mistake")


def expires_at_once(outcome: base.RefreshOutcome) -> base.RefreshOutcome:
    assert isinstance(outcome, base.Refreshed)
    return base.Refreshed(replace(outcome.tokens, access_expires_at=outcome.tokens.received_at))


def take_any_characters(fields: dict[str, object]) -> base.Refreshed:
    access, refresh = str(fields["accessToken"]), str(fields["refreshToken"])
    return base.Refreshed(
        TokenPair(access=access, refresh=refresh, received_at=0.0, access_expires_at=None, refresh_expires_at=None)
    )


MISTAKES: dict[str, Mistake] = {
    "any_2xx_with_a_pair_is_a_success": lambda answer, fields, right: UNKNOWN if answer.status == 201 else right,
    "an_empty_refresh_token_keeps_the_old_one": lambda answer, fields, right: (
        UNKNOWN if fields.get("refreshToken") == "" else right
    ),
    "a_lifetime_of_zero_is_unknown": lambda answer, fields, right: (
        expires_at_once(right) if fields.get("expires_in") == 0 else right
    ),
    "a_token_with_control_characters_is_no_success": lambda answer, fields, right: (
        take_any_characters(fields) if "accessToken" in fields else right
    ),
    "an_error_with_status_200_is_no_success": lambda answer, fields, right: (
        base.Refused() if answer.status == 200 and "error" in fields else right
    ),
    "a_certain_error_code_refuses": lambda answer, fields, right: (
        UNKNOWN if fields.get("error") == "interaction_required" else right
    ),
    "the_json_of_a_gateway_refuses_nothing_for_certain": lambda answer, fields, right: (
        base.Refused(is_certain=True) if isinstance(right, base.Refused) else right
    ),
}


@pytest.fixture(scope="module")
def opaque_api() -> Iterator[DemoApi]:
    with DemoApi(tokens="opaque") as api:
        yield api


class Contract(DialectContract):
    __test__ = False  # only the tests below run it
    username, password, protected_path = ADA, DEMO_USERS[ADA], "/protected-route"

    def __init__(self, dialect: base.Dialect, api: DemoApi) -> None:
        self.dialect, self.base_url, self._api = dialect, api.url, api

    def expire_access_token(self, tokens: TokenPair) -> None:
        self._api.expire_access_tokens()

    def run(self, name: str) -> None:
        self.setup_method()
        try:
            getattr(self, f"test_{name}")()
        finally:
            self.teardown_method()


@pytest.mark.parametrize("name", MISTAKES)
def test_it_finds_this_mistake(opaque_api: DemoApi, name: str) -> None:
    class MistakenDialect(TokenPairDialect):
        def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> base.RefreshOutcome:
            return MISTAKES[name](answer, answer.json_object(), super().read_refresh(answer, tokens))

    Contract(TokenPairDialect(), opaque_api).run(name)
    with pytest.raises(AssertionError):
        Contract(MistakenDialect(), opaque_api).run(name)
