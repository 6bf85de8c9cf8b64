"""Scenarios: the clock of the database's host is set back or ahead by hours, while a pause or a lease runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.demo_api.server import Fault, Gate
from tests.load.browser import Browser
from tests.load.figures import Figures
from tests.load.processes import free_port
from tests.load.sick_api import ATTEMPT_SECONDS, LEASE_SECONDS
from tests.load.site import LEEWAY_SECONDS, Site
from tests.load.stage import Act, Stage

GATE_SECONDS = 10
HOURS = 3 * 3600.0
#: For a busy machine.
MARGIN_SECONDS = 10.0
#: The others look at the record meanwhile.
LOOK_SECONDS = 0.5
TABS = 5

_CLOCK = """
    CREATE SCHEMA moved;
    CREATE TABLE moved.clock (ahead double precision NOT NULL);
    INSERT INTO moved.clock VALUES (0);
    CREATE FUNCTION moved.statement_timestamp() RETURNS timestamptz STABLE LANGUAGE sql AS
        $$ SELECT pg_catalog.statement_timestamp() + (SELECT ahead FROM moved.clock) * interval '1 second' $$;
"""


def databases_clock_set_back(stage: Stage) -> Figures:
    """A pause of a second and a lease of seconds do not become hours."""
    with _two_sites(stage) as (sites, set_ahead), Act(stage, sites) as act, Gate() as gate:
        paused, leased = act.sign_in(), act.sign_in()
        act.expire()
        act.fail_refresh(Fault.answer(503, b"busy", "text/plain"))
        act.expect(paused.open(), 503)
        set_ahead(-HOURS)
        _expect_alive_within(MARGIN_SECONDS, act, paused)

        act.fail_refresh(Fault.hold_before(gate))
        tab = leased.open_tab()
        assert gate.reached.wait(GATE_SECONDS)
        sites[0].kill(sites[0].worker_serving(tab.port))
        act.expect_broken(tab)
        # The request dies with its connection: the API never looks at it.
        act.api.stop_serving()
        act.api.start_serving()
        set_ahead(-2 * HOURS)
        _expect_alive_within(LEASE_SECONDS + ATTEMPT_SECONDS + MARGIN_SECONDS, act, leased)

        # The grace period does not become hours either.
        act.expire()
        thief = act.follow(leased.copy())
        act.expect_alive(leased, generation=2)
        set_ahead(-3 * HOURS)
        _expect_reuse_found(act, thief, leased)
    assert act.figures.refreshes == 3
    return act.figures


def databases_clock_set_ahead(stage: Stage) -> Figures:
    """The grace period and a running lease do not end early. A straggler is no thief, and no token is sent twice."""
    with _two_sites(stage) as (sites, set_ahead), Act(stage, sites) as act, Gate() as gate:
        browser = act.sign_in()
        straggler = act.follow(browser.copy())
        act.expire()
        act.expect_alive(browser, generation=1)
        set_ahead(HOURS)
        act.expect_pages(straggler.open_tabs(TABS, ports=act.ports))
        act.expect_alive(browser, generation=1)

        act.expire()
        act.fail_refresh(Fault.hold_after(gate))
        first = browser.open_tab()
        assert gate.reached.wait(GATE_SECONDS)
        set_ahead(2 * HOURS)
        others = browser.open_tabs(TABS, ports=act.ports)
        time.sleep(LOOK_SECONDS)
        gate.release()
        act.expect_pages([first, *others])
        act.expect_alive(browser, generation=2)
        _expect_reuse_found(act, straggler, browser)
    assert act.figures.refreshes == 2
    return act.figures


def _expect_alive_within(seconds: float, act: Act, browser: Browser) -> None:
    started = time.monotonic()
    act.expect_alive(browser, generation=1)
    taken = time.monotonic() - started
    assert taken < seconds, f"it took {taken:.1f} s, expected less than {seconds:.1f} s"


def _expect_reuse_found(act: Act, thief: Browser, owner: Browser) -> None:
    """After the grace period, by any right clock, an old cookie ends the session for both."""
    time.sleep(LEEWAY_SECONDS + LOOK_SECONDS)
    act.expire()
    act.expect_signed_out(thief)
    act.expect_signed_out(owner)


@contextmanager
def _two_sites(stage: Stage) -> Iterator[tuple[list[Site], Callable[[float], None]]]:
    """Two hosts on a PostgreSQL whose clock can be moved, and the function that sets it so many seconds ahead.

    Django asks the database for its time with STATEMENT_TIMESTAMP(). In this database the name means a function of the
    test. The clocks of the hosts stay right, and so do those of the API.
    """
    assert stage.postgres is not None, "this scenario needs PostgreSQL"
    name = f"clock{free_port()}"
    url = stage.postgres.create_database(name)
    with stage.postgres.connect(name) as connection, ExitStack() as closing:
        connection.execute(_CLOCK)
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = moved, pg_catalog, public')
        sites = [stage.another_site(workers=2, database_url=url) for _ in range(2)]
        sites[0].migrate()

        def set_ahead(seconds: float) -> None:
            connection.execute("UPDATE moved.clock SET ahead = %s", [seconds])

        yield [closing.enter_context(site) for site in sites], set_ahead
