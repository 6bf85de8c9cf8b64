"""Scenarios: workers that are replaced while people work, as at each deployment."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.load.browser import ADA, GRACE, Answer, Browser
from tests.load.figures import Figures
from tests.load.stage import Act, Stage

TABS = 3
#: Less than gunicorn gives a worker that has to go, and longer than the access token lives.
STREAM = "/protected/stream/?rows=10&delay=0.2"
WHOLE = b"That was all."


def reloaded_under_load(stage: Stage) -> Figures:
    """SIGHUP, again and again: neither tabs nor streams nor kept-alive connections notice, nor does the API."""
    # On a busy machine, requests wait for a worker for longer than the short grace period of the other scenarios.
    usual = {"API_SESSION_LEEWAY": "30"}
    with (
        stage.another_site(workers=2, preload=False, environment=usual) as site,
        Act(stage, [site], access_ttl=1) as act,
    ):
        browsers = [act.sign_in(user) for user in (ADA, GRACE, ADA)]
        act.measure_baseline(browsers[0], TABS)

        def take(answer: Answer) -> None:
            act.figures.latencies.append(act.expect(answer, 200).seconds)

        with busy(browsers, TABS, take) as sent_again:
            for _ in range(stage.scale.rotations // 2 + 1):
                streams = [browser.open_tab(STREAM, receives=False) for browser in browsers]
                site.reload()
                for stream in streams:
                    assert WHOLE in act.expect(stream.answer(), 200).body, "a stream was cut off"
        act.figures.sent_again = sum(sent_again)
        for browser in browsers:
            act.expect_alive(browser)
    assert act.figures.refreshes == act.figures.rotations
    return act.figures


@contextmanager
def busy(browsers: Sequence[Browser], tabs: int, take: Callable[[Answer], object]) -> Iterator[list[int]]:
    """Each browser has so many tabs that open page after page, and one that does so on a kept-alive connection.

    `take` gets each answer. What it raises, or a connection, is raised at the end; then the list says what
    `ask_again_and_again` returned.
    """
    over = threading.Event()
    sent_again: list[int] = []

    def open_pages(browser: Browser) -> None:
        while not over.is_set():
            take(browser.open())

    with ThreadPoolExecutor(len(browsers) * (tabs + 1)) as pool:
        working = [pool.submit(open_pages, browser) for browser in browsers for _ in range(tabs)]
        asking = [pool.submit(browser.ask_again_and_again, take, over) for browser in browsers]
        try:
            yield sent_again
        finally:
            over.set()
    for work in working:
        work.result()
    sent_again += [work.result() for work in asking]
