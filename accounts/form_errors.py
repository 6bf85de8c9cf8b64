"""Puts the API's errors on the fields of a Django form, so that the page can keep what the user typed.

try:
    request.api.post("/orders", json=form.cleaned_data).raise_for_status()
except API_ERRORS as error:
    status = add_api_errors(form, error)
"""

import logging
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from django.forms import BaseForm
from django.utils.html import format_html
from requests import HTTPError, RequestException, Response

from accounts.browser.next_page import address_for, why_not_fresh
from accounts.exceptions import ApiError, ApiUnavailable, DeviceUnproven, SignInRequired
from accounts.session.freshness import FreshSignInRequired
from accounts.text import clean_text

logger = logging.getLogger(__name__)

#: What a call of `request.api` and `raise_for_status()` raise.
API_ERRORS = (SignInRequired, ApiError, RequestException)

_MAX_BYTES = 512 * 1024
_MAX_ERRORS = 50
_MAX_DEPTH = 8
_MAX_NAME = 80
_MAX_MESSAGE = 300
#: Names of members, as `_simplify` returns them.
#: The members in which APIs list errors, name the field of one error, and explain it. The first one counts.
_LISTS = ("errors", "detail", "message", "error")
_PLACES = (
    "field", "loc", "pointer", "parameter", "param", "propertypath", "propertyname", "property", "attr", "instancepath",
    "target", "path",
)  # fmt: skip
#: These count only with the name of a field of the form.
_WEAK_PLACES = ("name", "key", "keys", "fields", "members")
_TEXTS = ("detail", "message", "msg", "errordescription", "error", "title")
_OTHER_TEXTS = ("defaultmessage", "errormessage", "description", "reason", "errors")
#: Members that are no field: they have errors of the whole form, or the fields one level below.
_NO_FIELD = (
    "nonfielderrors", "all", "base", "schema", "formerrors", "fielderrors", "fieldviolations", "violations",
    "validationerrors", "invalidparams", "issues", "details", "messages", "errormessages", "modelstate", "embedded",
)  # fmt: skip
#: Members that are facts about the response, or what the user typed.
_FACTS = (
    "code", "status", "statuscode", "type", "instance", "timestamp", "path", "traceid", "requestid", "errorcode",
    "exception", "file", "stack", "value", "input", "rejectedvalue", "attemptedvalue", "invalidvalue",
)  # fmt: skip
#: Lists and objects that say nothing to the user: where the API's own code failed.
_INTERNALS = ("trace", "traces", "stack", "stacktrace", "links", "codes", "arguments", "locations", "path")
#: The first step of FastAPI's `loc`. Like those that follow, these are no field if they have a list or an object for
#: each field. With texts, they may be a copy of what the user typed.
_PARTS_OF_REQUEST = ("body", "query", "path", "header", "headers", "cookie", "cookies", "form", "file", "files", "json")
_GROUPS = (*_PARTS_OF_REQUEST, "children", "properties")
#: The name of an exception's class, in `{"name": "ZodError", "issues": [...]}`.
_CLASS_NAME = re.compile(r"[A-Z]\w*(Error|Exception)")
#: The first steps of a pointer in JSON:API.
_ROOT = re.compile(r"/data(/attributes|/relationships)?(?=/|$)")

_UNKNOWN = "It is not known whether it acted on this. Check that before you send it again."

#: The steps to a field of the API: ("address", "city").
_Path = tuple[str, ...]


def add_api_errors(form: BaseForm, error: Exception, *, names: Mapping[str, str] | None = None) -> int:
    """Add what the API says to the fields of `form`, or to the form itself. Returns the status for the page.

    `form` is valid so far, and `error` is one of API_ERRORS. A field of the API is the form's field of the same name;
    case, "_" and "-" do not count. `names` translates other names: `{"customer.mail": "email"}`. The error of an
    unknown field is shown for the whole form, with its name.

    Returns 200 after a 4xx of the API, as for any invalid form; 401 if the user has to sign in; 502 or 503 if there is
    no usable response. Then the form says whether the API may have acted.
    """
    if isinstance(error, HTTPError) and error.response is not None and error.response.status_code < 500:
        refused = f"The service behind this site did not accept this (status {error.response.status_code})."
        errors = list(islice(_read(form, error.response, names or {}), _MAX_ERRORS))
        for field, text in errors or [(None, refused)]:
            form.add_error(field, text)
        return 200
    if isinstance(error, SignInRequired):
        why = "You are no longer signed in."
        if isinstance(error, DeviceUnproven):
            why = "This browser could not prove that the session is its own. Send this again. If that does not help:"
        elif isinstance(error, FreshSignInRequired) and not error.reason:
            why = why_not_fresh(error.freshness)
        text = '{} <a href="{}" target="_blank">Sign in in a new tab</a>, then send this again.'
        form.add_error(None, format_html(text, why, address_for(error, "")))
        return 401
    # The text of an exception of requests may quote the API.
    cause = str(error) if isinstance(error, ApiError) else "unusable response of the API"
    logger.error("a form's call failed: %s: %s", type(error).__name__, cause)
    if isinstance(error, ApiUnavailable):
        outcome = _UNKNOWN if error.may_have_acted else "Nothing was changed. Please try again in a moment."
        form.add_error(None, f"The service behind this site is not answering. {outcome}")
        return 503
    form.add_error(None, f"The service behind this site sent a response that this site cannot use. {_UNKNOWN}")
    return 502


def _read(form: BaseForm, response: Response, names: Mapping[str, str]) -> Iterator[tuple[str | None, str]]:
    """The errors in a response: for each the form's field, or None for the whole form, and the text."""
    try:
        body = response.json() if len(response.content) <= _MAX_BYTES else None
    except (RequestException, ApiError):
        return
    fields = {_simplify(name): name for name in form.fields} | {name: name for name in form.fields}
    fields |= {api_name: name for api_name, name in names.items() if name in form.fields}
    for path, message in _errors(body, (), fields):
        text = clean_text(message, _MAX_MESSAGE)
        if not text:
            continue
        field, label = _find(fields, path), ""
        if field is None and path:
            field, label = _find(fields, path[:1]), ".".join(path[1:])
        if field is None:
            label = ".".join(path)
        label = clean_text(label, _MAX_NAME)
        # The index of a list says nothing to the user.
        yield field, f"{label}: {text}" if label.strip("0123456789.") else text


def _errors(
    value: Any, path: _Path, fields: Mapping[str, str], depth: int = 0, *, bare: bool = True
) -> Iterator[tuple[_Path, str]]:
    """The errors in a JSON value, each with the path of its field. A single text counts only if `bare`."""
    if isinstance(value, str):
        if bare:
            yield path, value
    elif depth >= _MAX_DEPTH:
        return
    elif isinstance(value, list):
        for item in value:
            yield from _errors(item, path, fields, depth + 1)
    elif isinstance(value, dict):
        yield from _errors_of_object(value, path, fields, depth, bare=bare)


def _errors_of_object(
    value: dict[str, Any], path: _Path, fields: Mapping[str, str], depth: int, *, bare: bool
) -> Iterator[tuple[_Path, str]]:
    """The errors in a JSON object: one error that names its field, a list of errors, or a member for each field."""
    members = {_simplify(key): value[key] for key in value}
    texts = (members.get(key) for key in (*_TEXTS, *_OTHER_TEXTS))
    text = next((text for text in texts if isinstance(text, str) and text.strip()), "")
    code = members["code"] if isinstance(members.get("code"), str) else ""
    place = _place(members, fields, depth)
    if place is not None and (text or code):
        yield place, text or code
        return
    paths = {key: _below(path, key, value[key], fields) for key in value}
    own = {key for key in value if _find(fields, paths[key]) and _is_for_field(key, value[key], depth)}
    groups = {
        key: _simplify(key) for key in value if isinstance(value[key], list | dict) and _simplify(key) not in _INTERNALS
    }
    lists = [key for name in _LISTS for key in groups if key not in own and groups[key] == name]
    others = [key for key in value if key in own or (key in groups and key not in lists)]
    # The first of these that has an error counts.
    for keys in (*([key] for key in lists), others):
        errors: list[tuple[_Path, str]] = []
        for key in keys:
            where, is_bare = (path, True) if key in lists else (paths[key], key in own)
            errors += islice(_errors(value[key], where, fields, depth + 1, bare=is_bare), _MAX_ERRORS)
        known = any(_find(fields, found) or _find(fields, found[:1]) for found, _ in errors)
        if errors and bare and text and keys is others and not known:
            # The members may be no fields at all.
            yield path, text
        yield from errors
        if errors:
            return
    if bare and (text or (path and code)):
        yield path, text or code
    elif bare:
        for key in value:
            if isinstance(value[key], str) and _simplify(key) not in _FACTS:
                yield paths[key], value[key]


def _is_for_field(key: str, member: Any, depth: int) -> bool:
    """Whether a member with the name of a field belongs to it. A field may be called `title`, `detail` or `message`."""
    if isinstance(member, str):
        return (bool(depth) or _simplify(key) not in _TEXTS) and not _CLASS_NAME.fullmatch(member)
    return _simplify(key) not in _LISTS or (isinstance(member, list) and all(isinstance(item, str) for item in member))


def _place(members: dict[str, Any], fields: Mapping[str, str], depth: int) -> _Path | None:
    """The path of the field that an error names; None if it names none."""
    extensions, source = members.get("extensions"), members.get("source")
    if isinstance(extensions, dict):  # GraphQL, whose `path` is the path in the query
        members = {key: value for key, value in members.items() if key != "path"}
    for holder in (members, source, extensions):
        if not isinstance(holder, dict):
            continue
        for key in (*_PLACES, *_WEAK_PLACES):
            path = _path_of_place(key, holder.get(key), fields)
            # The response itself may have the path of the request. A text with spaces may be the error of such a field.
            is_name = depth and key in _PLACES and " " not in "".join(path or ())
            if path is not None and (is_name or _find(fields, path)):
                return path
    return None


def _path_of_place(key: str, place: Any, fields: Mapping[str, str]) -> _Path | None:
    if isinstance(place, str):
        path = _steps(_ROOT.sub("", place) if key == "pointer" else place)
        return () if path and _is_no_field(path[0]) and not _find(fields, path) else path
    if not isinstance(place, list):
        return None
    steps = [step.get("key", "") if isinstance(step, dict) else step for step in place[:_MAX_DEPTH]]
    path = tuple(str(step) for step in steps)
    if key == "loc" and path[:1] and path[0] in _PARTS_OF_REQUEST:
        path = path[1:]
        # Django Ninja, and FastAPI for a function with several bodies, begin with the name of an argument.
        if not _find(fields, path[:1]) and _find(fields, path[1:2]):
            path = path[1:]
    return path


def _below(path: _Path, key: str, member: Any, fields: Mapping[str, str]) -> _Path:
    """The path of a member. Some members are no step to a field."""
    below = (*path, *_steps(key))
    if _find(fields, below):
        return below
    is_group = (
        key in _GROUPS and isinstance(member, dict) and not any(isinstance(text, str) for text in member.values())
    )
    return path if is_group or _is_no_field(key) else below


def _is_no_field(name: str) -> bool:
    return _simplify(name) in _NO_FIELD


def _steps(name: str) -> _Path:
    """The steps of `address.city`, `address[city]`, `/address/city`, `#/address/city` and `$.address.city`."""
    return tuple(step for step in re.split(r"[./\[\]]+", name[:_MAX_NAME].lstrip("#$")) if step)


def _find(fields: Mapping[str, str], path: _Path) -> str | None:
    name = ".".join(path)
    return fields.get(name) or fields.get(_simplify(name))


def _simplify(name: str) -> str:
    return re.sub(r"[-_. ]", "", name).lower()
