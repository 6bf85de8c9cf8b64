"""The whole examination."""

from collections.abc import Callable

from accounts.doctor.api import examine_api
from accounts.doctor.api_session import Credentials, examine_api_session
from accounts.doctor.configuration import examine_configuration
from accounts.doctor.database import examine_database
from accounts.doctor.findings import Findings, Status, problem, unknown, worst
from accounts.doctor.keys import examine_keys
from accounts.doctor.site import examine_site


def examine(*, path: str, credentials: Credentials | None, url: str | None) -> Findings:
    """Everything that can be looked at from here, and with `url` the deployed site from outside.

    `path` is one of the API that a signed-in user may GET; `credentials` are somebody's who may sign in there.
    """
    parts: dict[str, Callable[[], Findings]] = {
        "keys": examine_keys,
        "database": examine_database,
        "api": lambda: _api(path, credentials),
        "settings": examine_configuration,
    }
    if url is not None:
        parts["site"] = lambda: examine_site(url)
    for group, examine_part in parts.items():
        try:
            yield from examine_part()
        except Exception as error:  # noqa: BLE001  # a doctor that falls over helps nobody; the text could hold anything
            found = f"The examination broke off: {type(error).__name__}."
            yield problem(f"{group}.examination", found, "Please report this, and what is special about the settings.")


def _api(path: str, credentials: Credentials | None) -> Findings:
    findings = list(examine_api(path))
    yield from findings
    if credentials is None:
        return
    if worst(findings) is Status.PROBLEM:
        yield unknown("api.session", "Nobody was signed in: the API is not well enough.")
    else:
        yield from examine_api_session(path, credentials)
