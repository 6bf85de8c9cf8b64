"""Cookies, hand-offs and posted bodies that are none, or were good once: they open nothing, and break nothing."""

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from accounts.sealing import Purpose, seal
from accounts.session import ApiSession
from tests.fuzz.effort import fuzz
from tests.fuzz.raw_api import RawApi
from tests.fuzz.strategies import as_json, bodies, content_types, json_values, latin
from tests.fuzz.visitors import new_browser, new_session, read

UPDATE = "/accounts/session/update/"

Change = Callable[[str], str]

#: What can happen to a sealed text.
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(
        lambda at, text: lambda whole: whole[: at % len(whole)] + text + whole[at % len(whole) :], st.integers(), latin
    ),
    st.builds(
        lambda at, n: lambda whole: whole[: at % len(whole)] + whole[at % len(whole) + n :],
        st.integers(),
        st.integers(1, 9),
    ),
    st.sampled_from(
        [str.upper, str.lower, lambda whole: f"2.{whole}", lambda whole: whole * 2, lambda whole: whole[::-1]]
    ),
    st.just(lambda whole: whole),
)
#: What our keys may have sealed some day, and nobody else can.
contents = st.one_of(json_values.map(as_json), st.binary())


def sealed_otherwise(session: ApiSession) -> list[str]:
    """Texts of ours that are sealed for other purposes."""
    return [session.seal_for_cookie(), session.seal_for_record(), session.seal_for_hand_off()]


@fuzz
@given(change=changes, name=st.sampled_from(["session", "session-new-0123abcd"]), kind=st.integers(0, 2))
def test_only_the_text_itself_is_a_session(api: RawApi, change: Change, name: str, kind: int) -> None:
    session = new_session()
    text = sealed_otherwise(session)[kind]
    changed = change(text)

    visit = read(new_browser().client.get("/accounts/session/", HTTP_COOKIE=f"{name}={changed}"), (200,))

    presented = changed.partition(";")[0].strip(" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0").strip('"')
    assert json.loads(visit.body)["authenticated"] == (kind == 0 and presented == text)
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
    assert not session.cookies
    assert not page.cookies


@fuzz
@given(change=changes, kind=st.integers(0, 2), foreign=st.booleans())
def test_only_a_hand_off_of_this_browsers_session_becomes_its_cookie(
    api: RawApi, change: Change, kind: int, foreign: bool
) -> None:
    session = new_session()
    browser = new_browser({"session": session.seal_for_cookie()})
    text = sealed_otherwise(new_session() if foreign else session)[kind]
    changed = change(text)

    response = browser.post(UPDATE, json.dumps({"session": changed}), content_type="application/json")

    visit = read(response, (204, 400))
    assert (visit.status == 204) == (changed == text and kind == 2 and not foreign)
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
