"""The last call to the API that the request at hand made. With DEBUG, error pages show it to the developer."""

from contextvars import ContextVar
from dataclasses import dataclass

from django.conf import settings


@dataclass(slots=True)
class LastCall:
    """`method` is empty before the first call. `status` is None if there was no complete response.

    `problem` says what is wrong with a complete response; empty if only its status is known.
    """

    method: str = ""
    path: str = ""
    status: int | None = None
    problem: str = ""


_current: ContextVar[LastCall | None] = ContextVar("last_call", default=None)


def forget_last_call() -> None:
    """A new request begins. Its calls are noted with DEBUG only."""
    _current.set(LastCall() if settings.DEBUG else None)


def last_call() -> LastCall | None:
    """None without DEBUG."""
    return _current.get()


def note_problem(text: str) -> None:
    call = _current.get()
    if call is not None:
        call.problem = text
