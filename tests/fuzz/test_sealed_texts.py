"""Broken and outdated cookies, session updates and posted bodies: none is accepted, and none breaks anything."""

import json
from collections.abc import Callable

from django.http import parse_cookie
from hypothesis import example, given
from hypothesis import strategies as st

from accounts.session.api_session import ApiSession
from accounts.session.sealing import Purpose, seal
from tests.fuzz.effort import fuzz
from tests.fuzz.raw_api import RawApi
from tests.fuzz.request_strategies import content_types
from tests.fuzz.strategies import as_json, bodies, json_values, latin
from tests.fuzz.visitors import new_browser, new_session, read

UPDATE = "/accounts/session/update/"

Change = Callable[[str], str]


def unchanged(text: str) -> str:
    return text


#: What a lenient reader of base64 leaves out.
_LEFT_OUT = ["=", "!", ".", "%", "+", "/", "\r", "AAAA"]
#: What can happen to a sealed text.
changes: st.SearchStrategy[Change] = st.one_of(
    st.just(unchanged),
    st.builds(
        lambda at, more: lambda text: text[: at % len(text)] + more + text[at % len(text) :],
        st.integers(),
        st.one_of(st.sampled_from(_LEFT_OUT), latin),
    ),
    st.builds(
        lambda at, count: lambda text: text[: at % len(text)] + text[at % len(text) + count :],
        st.integers(),
        st.integers(1, 9),
    ),
    st.sampled_from(_LEFT_OUT).map(lambda more: lambda text: text + more),
    st.sampled_from([str.upper, str.lower, lambda text: f"2.{text}", lambda text: text * 2, lambda text: text[::-1]]),
)
kinds = st.sampled_from(["cookie", "record", "session update"])
#: What our keys may have sealed some day, and nobody else can.
contents = st.one_of(json_values.map(as_json), st.binary())


def sealed(session: ApiSession, kind: str) -> str:
    return {
        "cookie": session.seal_for_cookie(),
        "record": session.seal_for_record(),
        "session update": session.seal_for_update(),
    }[kind]


@fuzz
@given(change=changes, name=st.sampled_from(["session", "session-new-0123abcd"]), kind=kinds)
def test_only_the_text_itself_is_a_session(api: RawApi, change: Change, name: str, kind: str) -> None:
    session = new_session()
    text = sealed(session, kind)
    changed = change(text)

    visit = read(new_browser().client.get("/accounts/session/", HTTP_COOKIE=f"{name}={changed}"), (200,))

    presented = parse_cookie(f"{name}={changed}").get(name)
    assert json.loads(visit.body)["authenticated"] == (kind == "cookie" and presented == text)
    assert not visit.deletes_session


@fuzz
@given(content=contents, purpose=st.sampled_from(Purpose))
def test_what_a_key_of_ours_sealed_need_not_be_a_session(api: RawApi, content: bytes, purpose: Purpose) -> None:
    """Such as an older or a newer release wrote."""
    text = seal(purpose, content)
    names = ["session", "session-new-0123abcd", "session-sign-in-0123abcd", "session-id-token"]
    cookies = "; ".join(f"{name}={text}" for name in names)

    session = read(new_browser().client.get("/accounts/session/", HTTP_COOKIE=cookies), (200,))
    page = read(new_browser().client.get("/protected/", HTTP_COOKIE=cookies), (302,))

    assert not json.loads(session.body)["authenticated"]
    assert set(session.cookies) == {"csrftoken"}
    assert not page.cookies


@fuzz
@given(change=changes, kind=kinds, foreign=st.booleans())
@example(change=unchanged, kind="session update", foreign=False)
@example(change=unchanged, kind="session update", foreign=True)
@example(change=unchanged, kind="cookie", foreign=False)
def test_only_a_hand_off_of_this_browsers_session_becomes_its_cookie(
    api: RawApi, change: Change, kind: str, foreign: bool
) -> None:
    session = new_session()
    browser = new_browser({"session": session.seal_for_cookie()})
    text = sealed(new_session() if foreign else session, kind)
    changed = change(text)

    response = browser.post(UPDATE, json.dumps({"session": changed}), content_type="application/json")

    visit = read(response, (204, 400))
    assert (visit.status == 204) == (changed == text and kind == "session update" and not foreign)
    assert bool(visit.cookies) == (visit.status == 204)
    assert not visit.deletes_session


@fuzz
@given(
    body=st.one_of(bodies, json_values.map(lambda value: as_json({"session": value})), st.binary()),
    content_type=st.one_of(st.just("application/json"), content_types),
    signed_in=st.booleans(),
)
def test_any_body_is_refused_in_words(api: RawApi, body: bytes, content_type: str, signed_in: bool) -> None:
    browser = new_browser({"session": new_session().seal_for_cookie()} if signed_in else {})

    visit = read(browser.client.generic("POST", UPDATE, body, content_type), (400,))

    assert list(json.loads(visit.body)) == ["detail"]
    assert not visit.cookies
