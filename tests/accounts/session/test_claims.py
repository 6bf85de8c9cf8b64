"""Which claims of a response are kept with a user, and from which source."""

import json
from typing import Any

import jwt
import pytest
from pytest_django import Settings

from accounts.session.api_session import ApiSession
from accounts.session.claims import MAX_CLAIMS_BYTES, ClaimsTooLarge, lacks_claims, renewed_claims, with_claims
from accounts.session.sealing import Purpose, seal
from accounts.session.tokens import User, receive_pair

ADA = User(id="ada-1", name="Ada")


def token(**claims: object) -> str:
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


@pytest.mark.parametrize(
    ("name", "claims", "found"),
    [
        ("roles", {"roles": ["a"]}, ["a"]),
        ("roles", {"roles": None}, None),
        ("a.b", {"a": {"b": 1}}, 1),
        ("a.b", {"a": {"b": 1}, "a.b": 2}, 2),
        ("https://example.com/roles", {"https://example.com/roles": ["x"]}, ["x"]),
        ("roles", {"user": {"roles": ["inside"]}}, ["inside"]),
        ("roles", {"user": {"roles": ["inside"]}, "roles": ["outside"]}, ["outside"]),
        ("user.roles", {"user": {"roles": ["inside"]}}, ["inside"]),
    ],
)
def test_found(settings: Settings, name: str, claims: dict[str, Any], found: object) -> None:
    settings.API_USER_CLAIMS = [name]

    user = with_claims(ADA, token(**claims), "", {})

    assert user.claims == {name: found}
    assert not lacks_claims(user)


@pytest.mark.parametrize("claims", [{}, {"a": 1}, {"a": {"c": 1}}, {"a": ["b"]}, {"user": 5, "a": "b"}])
def test_not_found(settings: Settings, claims: dict[str, Any]) -> None:
    settings.API_USER_CLAIMS = ["a.b"]

    user = with_claims(ADA, token(**claims), token(a={"b": 1}), {})  # an ID token about nobody

    assert user.claims == {}
    assert lacks_claims(user)


def test_an_older_value_of_another_source_does_not_come_back(settings: Settings) -> None:
    settings.API_USER_CLAIMS = ["groups"]
    both = with_claims(ADA, token(groups=["new"]), token(sub="ada-1", groups=["same"]), {"groups": ["same"]})

    assert both.claims == {"groups": ["new"]}
    assert with_claims(both, token(iat=1), "", {}).claims == {}
    assert with_claims(both, "opaque", "", {}).claims == {"groups": ["new"]}


@pytest.mark.parametrize("value", ["x" * MAX_CLAIMS_BYTES, ["é"] * (MAX_CLAIMS_BYTES // 8)], ids=["ASCII", "escaped"])
def test_a_limit(settings: Settings, value: object) -> None:
    settings.API_USER_CLAIMS = ["roles"]

    with pytest.raises(ClaimsTooLarge, match="API_USER_CLAIMS"):
        with_claims(ADA, token(roles=value), "", {})
    assert renewed_claims(ADA, token(roles=value), "", {}).claims == {}

    room = MAX_CLAIMS_BYTES - len(json.dumps({"access": {"roles": ""}}, separators=(",", ":")))
    assert with_claims(ADA, token(roles="x" * room), "", {}).claims == {"roles": "x" * room}


def test_no_claims_leave_the_sealed_fields_as_older_releases_write_them() -> None:
    plain = ApiSession.begin(ADA, receive_pair("a", "r"))
    with_roles = ApiSession.begin(
        User(id=1, name="Ada", claims_by_source={"id": {"roles": []}}), receive_pair("a", "r")
    )

    assert json.loads(plain._to_bytes())[2] == ["ada-1", "Ada", ""]
    assert json.loads(with_roles._to_bytes())[2][:3] == [1, "Ada", ""]
    assert ApiSession.open_cookie(plain.seal_for_cookie()).user.claims == {}
    assert ApiSession.open_cookie(with_roles.seal_for_cookie()).user.claims == {"roles": []}


def test_a_later_release_may_append_fields_to_a_user_without_claims() -> None:
    session = ApiSession.begin(ADA, receive_pair("a", "r"))
    fields = json.loads(session._to_bytes())
    fields[2] += [None, None, "of a later release"]

    opened = ApiSession.open_cookie(seal(Purpose.COOKIE, json.dumps(fields).encode()))

    assert opened.user.claims == {}
    assert opened == session
