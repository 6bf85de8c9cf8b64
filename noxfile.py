"""Commands with environments of their own, apart from .venv: `make matrix` and `make mutate`. See README.md."""

import nox

#: Each Python with the long-term support release of Django and with the newest. For 3.11 they are the same.
LONG_TERM, NEWEST = "django>=5.2,<5.3", "django"
MATRIX = [("3.11", LONG_TERM), *((python, django) for python in ("3.12", "3.13") for django in (LONG_TERM, NEWEST))]
QUICK_TESTS = ["-p", "no:cacheprovider", "-n", "2"]
#: Patterns of mutmut: whole modules, and the functions behind the session-update endpoint.
MUTATED = [
    *("accounts.session.sealing.*", "accounts.session.api_session.*", "accounts.browser.cookies.*"),
    *("accounts.rotation.reuse_detection.*", "accounts.rotation.rotate.*", "accounts.rotation.confirm.*"),
    *("accounts.session_views.x_update_session_*", "accounts.session_views.x__posted_update_*"),
    *("accounts.session_views.x__trace_refusal_*", "accounts.browser.session.*accept_update_*"),
    "accounts.browser.session.*leave_cookie_unchanged_*",
]


@nox.session
@nox.parametrize(("python", "django"), MATRIX)
def matrix(session: nox.Session, django: str) -> None:
    """The quick tests, with the versions of requirements.lock but for Django's. Arguments after `--` go to pytest."""
    _install(session)
    session.install("--upgrade", django)
    session.run("python", "-c", "import sys, django; print('Python', sys.version, '- Django', django.__version__)")
    session.run("python", "-m", "pytest", *QUICK_TESTS, *session.posargs)


@nox.session
def mutate(session: nox.Session) -> None:
    """Change the code that protects sessions, one place at a time, and list the changes that no test notices.

    Arguments after `--` are the names of the mutants, instead of all. They run even if they have a result.
    """
    _install(session)
    session.install("mutmut>=3.8")
    session.run("mutmut", "run", "--max-children", "2", *(session.posargs or MUTATED))
    session.run("mutmut", "results")


def _install(session: nox.Session) -> None:
    session.install("--require-hashes", "-r", "requirements.lock")
