"""Somebody at the provider's pages, where a test has no browser: forms over plain HTTP, and the provider's cookies."""

from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import requests

from tests.demo_api.users import DEMO_USERS

MAX_PAGES = 10


class Visitor:
    """
    One browser at the provider; its sign-in there lasts from one `follow` to the next.

    `consents` is what it answers where the provider asks whether the site may, or whether to sign out.
    """

    def __init__(self, email: str = "ada@example.com", password: str | None = None, *, consents: bool = True) -> None:
        self.consents = consents
        self.take_account(email, password or DEMO_USERS[email])
        self._http = requests.Session()
        self._http.trust_env = False

    def take_account(self, email: str, password: str) -> None:
        """Fill these in, where the provider asks from now on."""
        self._credentials = {"username": email, "password": password}

    def follow(self, url: str) -> str:
        """
        Go to this page of the provider and do what it and the next ones ask; where they send the browser in the end.

        That address is not at the provider and is not opened. Raises AssertionError where it does not come to that:
        an error page, a password refused.
        """
        provider = _origin(url)
        answer = self._http.get(url, allow_redirects=False)
        for _ in range(MAX_PAGES):
            if answer.is_redirect:
                target = urljoin(answer.url, answer.headers["Location"])
                if _origin(target) != provider:
                    return target
                answer = self._http.get(target, allow_redirects=False)
            else:
                assert answer.status_code == 200, f"{urlsplit(answer.url).path} answers {answer.status_code}"
                answer = self._send_form(answer)
        raise AssertionError(f"the provider goes on asking at {urlsplit(answer.url).path}")

    def _send_form(self, page: requests.Response) -> requests.Response:
        form = _Form()
        form.feed(page.text)
        assert form.fields, "a page of the provider without a form"
        fields = {name: self._credentials.get(name, value) for name, value in form.fields.items()}
        if not self.consents:
            fields.pop("allow", None)
        return self._http.post(urljoin(page.url, form.action), fields, allow_redirects=False)


class _Form(HTMLParser):
    """The named inputs of a page with one form, buttons among them, and their values; and where the form goes."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        field = dict(attrs)
        if tag == "form":
            self.action = field.get("action") or ""
        if tag == "input" and (name := field.get("name")):
            self.fields[name] = field.get("value") or ""


def _origin(url: str) -> tuple[str, str]:
    scheme, host, *_ = urlsplit(url)
    return scheme, host
