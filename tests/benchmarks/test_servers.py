"""The benchmarks measure pages as a browser gets them each time, not as it gets them once after the sign-in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.servers import cpu_per_page, quick_api, signed_in
from tests.load.browser import PAGE, Browser
from tests.load.site import Site

pytestmark = pytest.mark.storm


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with quick_api() as api_url:
        found = Site(database_url=f"sqlite:///{tmp_path}/db.sqlite3", api_url=api_url, workers=1, threads=2)
        found.migrate()
        with found:
            yield found


def test_a_page_that_shows_the_message_of_the_sign_in_is_not_measured(site: Site) -> None:
    browser = Browser(site.port)
    browser.sign_in()

    with pytest.raises(RuntimeError, match="changes the cookie messages"):
        cpu_per_page(site, PAGE, browser.jar.header(PAGE), connections=1, pages=1)

    assert cpu_per_page(site, PAGE, signed_in(site.port).jar.header(PAGE), connections=1, pages=1) > 0
