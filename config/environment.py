"""Reads the settings from the environment, or from the file `.env` beside manage.py."""

import math
import re
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from accounts.text import parse_address

env = environ.Env()
env_file = Path(env.str("ENV_FILE", default="") or Path(__file__).resolve().parent.parent / ".env")
if "ENV_FILE" in env and not env_file.exists():
    raise ImproperlyConfigured(f"ENV_FILE names {env_file}, which is not there.")
env.read_env(env_file)


def as_it_stands(name: str) -> str:
    """The variable `name`, unchanged: django-environ takes a value that begins with "$" for another variable's name."""
    return str(env.ENVIRON.get(name, ""))


def listed(text: str) -> list[str]:
    """The parts of a text that are separated by commas. django-environ leaves the spaces beside them."""
    return [part.strip() for part in text.split(",") if part.strip()]


def number(name: str, default: float) -> float:
    """The variable `name`, an integer if `default` is one. django-environ would read "500ms" as 500 seconds."""
    text = as_it_stands(name).strip()
    try:
        value = type(default)(text) if text else default
        if math.isfinite(value):
            return value
    except ValueError:
        pass
    raise ImproperlyConfigured(f"{name} is {text!r}. It has to be a number, such as {default:g}.")


def number_or_none(name: str) -> float | None:
    """The number in the variable `name`; None if it is empty or not set."""
    return number(name, 3600.0) if as_it_stands(name).strip() else None


def flag(name: str, *, default: bool) -> bool:
    """The variable `name`, true or false. django-environ would read "ture" as false, and so disable a protection."""
    text = as_it_stands(name).strip().lower()
    if text in (*env.BOOLEAN_TRUE_STRINGS, "false", "off", "n", "no", "0", ""):
        return text in env.BOOLEAN_TRUE_STRINGS if text else default
    raise ImproperlyConfigured(f"{name} is {text!r}. It has to be true or false.")


def address(name: str, text: str | None = None, *, may_have_query: bool = False) -> str:
    """The address in the variable `name`, or in `text`, without spaces and line ends around it."""
    text = env.str(name, default="") if text is None else text
    if text and parse_address(text.strip(), may_have_query=may_have_query) is None:
        # The value is not shown: it may hold a password.
        raise ImproperlyConfigured(f"{name} is not a valid address. Write it like https://api.example.com/v1.")
    return text.strip()


def link(name: str) -> str:
    """The address, or the path on this site, in the variable `name`; "" for none."""
    text = as_it_stands(name).strip()
    is_path = re.fullmatch(r"/(?![/\\])[!-~]*", text)
    if text and not is_path and parse_address(text, may_have_query=True) is None:
        raise ImproperlyConfigured(f"{name} is {text!r}. Write an address, or a path on this site: /forgot-password/.")
    return text
