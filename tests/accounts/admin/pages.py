"""The admin's pages of sessions, as a test uses them."""

import html
import re
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import EventKind, SessionEvent, SessionRecord
from tests.browsers import Answer, Browser

INDEX = "/admin/"
LIST = "/admin/accounts/sessionrecord/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def staff(*permissions: str) -> Browser:
    """The browser of a staff user with these permissions for sessions; without any, of a superuser."""
    users = get_user_model().objects
    user = users.create_user("harbour-master", is_staff=True, is_superuser=not permissions)
    user.user_permissions.set(Permission.objects.filter(codename__in=[f"{name}_sessionrecord" for name in permissions]))
    browser = Browser()
    browser.client.force_login(user)
    return browser


def choose(browser: Browser, *sessions: SessionRecord, **form: str) -> Answer:
    """Select these sessions in the list, and choose the action."""
    selected = [str(record.pk) for record in sessions]
    return browser.post(LIST, {"action": "end_sessions", "index": "0", "_selected_action": selected, **form})


def confirm(browser: Browser, page: Answer) -> Answer:
    """Submit the confirmation form unchanged."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    form: dict[str, list[str]] = {}
    for name, value in fields:
        form.setdefault(name, []).append(html.unescape(value))
    return browser.post(LIST, form)


def end(browser: Browser, *sessions: SessionRecord) -> Answer:
    return confirm(browser, choose(browser, *sessions))


def detail(record: SessionRecord) -> str:
    return f"{LIST}{record.pk}/change/"


def add_record(**fields: Any) -> SessionRecord:
    values = {"id": uuid4(), "user_id": "7", "user_name": "Émile Zola", "user_name_lower": "émile zola"}
    return SessionRecord.objects.create(**{**values, **fields})


def add_event(**fields: Any) -> SessionEvent:
    return SessionEvent.objects.create(
        **{"session_id": uuid4(), "kind": EventKind.ROTATED, "at": timezone.now(), "generation": 1, **fields}
    )


def rows(page: Answer, *, summary: bool = False) -> list[list[str]]:
    """The text of the cells of the page's last table, row by row; with `summary`, of the table above the list."""
    tables = re.findall(r"<table.*?</table>", page.text, re.DOTALL)
    assert tables, page.text
    found = re.findall(r"<tr[^>]*>(.*?)</tr>", tables[-2 if summary else -1], re.DOTALL)
    return [[_text(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)] for row in found[1:]]


def _text(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup)).strip()
