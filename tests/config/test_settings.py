"""Starts of the site in processes of their own, with nothing in the environment but what is said here."""

import runpy
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from accounts.conf import Conf
from accounts.rotation.rotate import LEASE_MARGIN_SECONDS
from accounts.rotation.store import STORE_SECONDS
from config.environment import env, link
from tests.config.processes import PRODUCTION, ROOT, START, copy_site, python, settings_of, settings_of_manage_py, start


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return copy_site(tmp_path)


class TestProduction:
    @pytest.mark.parametrize("missing", PRODUCTION)
    @pytest.mark.parametrize("how", ["unset", "empty"])
    def test_a_start_without_what_it_needs_fails_and_says_what(self, site: Path, missing: str, how: str) -> None:
        environment = {name: value for name, value in PRODUCTION.items() if name != missing}
        if how == "empty":
            environment[missing] = ""

        process = start(site, **environment)

        assert process.returncode != 0
        last_line = process.stderr.strip().splitlines()[-1]
        assert last_line.startswith("django.core.exceptions.ImproperlyConfigured: ")
        assert f"Set the environment variable {missing} " in last_line

    @pytest.mark.parametrize("program", [START, "import config.wsgi", "import config.asgi"])
    def test_no_server_starts_with_nothing_set(self, site: Path, program: str) -> None:
        process = start(site, program)

        assert process.returncode != 0
        assert "Set the environment variable SECRET_KEY " in process.stderr

    def test_with_all_it_needs_a_server_starts(self, site: Path) -> None:
        program = "import config.wsgi; from config.messages import MessageStorage; print(MessageStorage.cookie_name)"
        process = start(site, program, **PRODUCTION)

        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
        assert process.stdout == "__Host-messages\n"

    def test_without_secure_cookies_the_csrf_cookie_has_no_prefix(self, site: Path) -> None:
        """Browsers would refuse it."""
        values = settings_of(site, **PRODUCTION, API_SESSION_COOKIE_SECURE="false", API_SESSION_COOKIE_NAME="session")

        assert values["CSRF_COOKIE_NAME"] == "csrftoken"

    def test_everything_about_cookies_and_transport_is_strict(self, site: Path) -> None:
        values = settings_of(site, **PRODUCTION)

        assert values["DEBUG"] is False
        assert values["ALLOWED_HOSTS"] == ["www.example.com", "example.com"]
        assert values["API_BASE_URL"] == "https://api.example.com/v1"
        assert values["API_SESSION_COOKIE_NAME"] == "__Host-session"
        assert values["CSRF_COOKIE_NAME"] == "__Host-csrftoken"
        for name in (
            "API_SESSION_COOKIE_SECURE",
            "SESSION_COOKIE_SECURE",
            "SESSION_COOKIE_HTTPONLY",
            "CSRF_COOKIE_SECURE",
            "SECURE_SSL_REDIRECT",
            "SECURE_HSTS_SECONDS",
            "SECURE_CONTENT_TYPE_NOSNIFF",
        ):
            assert values[name], name
        assert values["API_SESSION_COOKIE_SAMESITE"] == "Lax"
        # Believed only behind a proxy that overwrites it.
        assert values["SECURE_PROXY_SSL_HEADER"] is None

    def test_behind_a_proxy_its_word_on_tls_counts(self, site: Path) -> None:
        values = settings_of(site, **PRODUCTION, TRUSTED_PROXY_COUNT="1")

        assert values["SECURE_PROXY_SSL_HEADER"] == ["HTTP_X_FORWARDED_PROTO", "https"]

    def test_a_secret_key_means_production_for_manage_py_too(self, site: Path) -> None:
        assert settings_of_manage_py(site, **PRODUCTION)["DEBUG"] is False

        process = python(site, "manage.py", "check", SECRET_KEY=PRODUCTION["SECRET_KEY"])

        assert process.returncode != 0
        assert "Set the environment variable ALLOWED_HOSTS " in process.stderr

    @pytest.mark.parametrize(
        "key",
        ["$ecret" + "x" * 50, "${SECRET}" + "x" * 50, "a$b#c%d&e(f)=g'h" + "x" * 40],
        ids=["begins with a dollar", "looks like a variable", "punctuation"],
    )
    def test_a_secret_key_counts_as_it_stands_whatever_its_characters(self, site: Path, key: str) -> None:
        # One in fifty of the keys that `django-admin startproject` makes begins with a dollar.
        assert settings_of(site, **{**PRODUCTION, "SECRET_KEY": key})["SECRET_KEY"] == key

    @pytest.mark.parametrize("name", ["API_SESSION_KEYS", "SECRET_KEY_FALLBACKS"])
    def test_so_do_the_keys_of_a_ring(self, site: Path, name: str) -> None:
        keys = ["$" + "x" * 40, "y" * 40 + "=", "z" * 40]

        assert settings_of(site, **PRODUCTION, **{name: ", ".join(keys)})[name] == keys

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("CSRF_TRUSTED_ORIGINS", ["https://www.example.com", "https://example.com"]),
            ("METRICS_ALLOW", ["10.0.0.0/8", "::1"]),
        ],
    )
    def test_a_list_may_have_spaces_beside_its_commas(self, site: Path, name: str, values: list[str]) -> None:
        assert settings_of(site, **PRODUCTION, **{name: " , ".join(values) + ","})[name] == values

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("API_READ_TIMEOUT", "500ms"),
            ("API_CONNECT_TIMEOUT", "three"),
            ("API_SESSION_LEEWAY", "nan"),
            ("API_REFRESH_AHEAD", "1,5"),
            ("TRUSTED_PROXY_COUNT", "1.5"),
            ("DATABASE_POOL_SIZE", "2"),
            ("DATABASE_POOL_SIZE", "many"),
            ("SECURE_SSL_REDIRECT", "ture"),
            ("API_SESSION_COOKIE_SECURE", "2"),
        ],
    )
    def test_what_is_no_number_and_no_flag_is_named(self, site: Path, name: str, text: str) -> None:
        """Read in good faith, one would be a timeout of 500 seconds, and another a cookie that is not Secure."""
        process = start(site, **PRODUCTION, **{name: text})

        assert process.returncode != 0
        last_line = process.stderr.strip().splitlines()[-1]
        assert last_line.startswith(f"django.core.exceptions.ImproperlyConfigured: {name} is {text!r}. It has to be ")

    def test_numbers_and_flags_may_be_written_in_several_ways(self, site: Path) -> None:
        written = {
            "API_READ_TIMEOUT": " 2.50 ",
            "API_SESSION_LEEWAY": "",
            "SECURE_SSL_REDIRECT": "Off",
            "API_TRACE": "YES",
        }

        values = settings_of(site, **PRODUCTION, **written)

        assert [values[name] for name in written] == [2.5, 30.0, False, True]

    def test_a_link_is_an_address_or_a_path_on_this_site(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for text in ("", "/forgot/", "/forgot/?from=site", "https://id.example.com/new?site=1"):
            monkeypatch.setitem(env.ENVIRON, "REGISTER_URL", f" {text}\n")
            assert link("REGISTER_URL") == text
        for text in (
            "forgot/",
            "//evil.example/",
            "/\\evil.example",
            "/a b",
            "javascript:alert(1)",
            "https://a@b.example",
        ):
            monkeypatch.setitem(env.ENVIRON, "REGISTER_URL", text)
            with pytest.raises(ImproperlyConfigured, match="REGISTER_URL is "):
                link("REGISTER_URL")


class TestDevelopment:
    def test_manage_py_with_nothing_set_means_a_developers_machine(self, site: Path) -> None:
        values = settings_of_manage_py(site)

        assert values["DEBUG"] is True
        assert values["API_BASE_URL"] == "http://127.0.0.1:8001"
        assert values["API_SESSION_COOKIE_NAME"] == "session"
        assert values["CSRF_COOKIE_NAME"] == "csrftoken"
        assert values["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
        for name in ("API_SESSION_COOKIE_SECURE", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT"):
            assert values[name] is False, name

    def test_debug_can_be_asked_for(self, site: Path) -> None:
        assert settings_of(site, DEBUG="true")["DEBUG"] is True
        assert settings_of_manage_py(site, DEBUG="true", SECRET_KEY="mine")["SECRET_KEY"] == "mine"

    def test_and_refused(self, site: Path) -> None:
        process = python(site, "manage.py", "check", DEBUG="false")

        assert process.returncode != 0
        assert "Set the environment variable SECRET_KEY " in process.stderr

    def test_manage_py_checks_without_a_complaint(self, site: Path) -> None:
        process = python(site, "manage.py", "check")

        assert process.returncode == 0, process.stderr
        assert "no issues" in process.stdout


class TestEnvFile:
    def test_what_it_says_counts(self, site: Path) -> None:
        (site / ".env").write_text(
            "# our own\nSECRET_KEY=from-the-file\nALLOWED_HOSTS=example.com\nAPI_BASE_URL='https://api.example.com'\n"
            'API_READ_TIMEOUT="2.5"\n'
        )

        values = settings_of(site)

        assert (values["SECRET_KEY"], values["DEBUG"], values["API_READ_TIMEOUT"]) == ("from-the-file", False, 2.5)

    def test_the_environment_comes_first(self, site: Path) -> None:
        (site / ".env").write_text("SECRET_KEY=from-the-file\nAPI_READ_TIMEOUT=2.5\n")

        values = settings_of(site, **PRODUCTION)

        assert (values["SECRET_KEY"], values["API_READ_TIMEOUT"]) == (PRODUCTION["SECRET_KEY"], 2.5)

    def test_it_may_lie_elsewhere(self, site: Path, tmp_path: Path) -> None:
        (site / ".env").write_text("API_READ_TIMEOUT=2.5\n")
        (tmp_path / "site.env").write_text("API_CONNECT_TIMEOUT=1.5\n")

        values = settings_of(site, **PRODUCTION, ENV_FILE=str(tmp_path / "site.env"))

        assert (values["API_CONNECT_TIMEOUT"], values["API_READ_TIMEOUT"]) == (1.5, 10.0)

    def test_where_it_is_not_that_is_said(self, site: Path) -> None:
        process = start(site, **PRODUCTION, ENV_FILE="nowhere.env")

        assert process.returncode != 0
        assert "ENV_FILE names nowhere.env, which is not there." in process.stderr

    def test_a_secret_key_in_it_means_production_for_manage_py_too(self, site: Path) -> None:
        (site / ".env").write_text("SECRET_KEY=from-the-file\n")

        process = python(site, "manage.py", "check")

        assert "Set the environment variable ALLOWED_HOSTS " in process.stderr


def test_old_workers_get_longer_than_a_page_takes_that_rotates(site: Path) -> None:
    """A call, a dead worker's lease, two attempts, tries to store, and the last of them waits for the lock."""
    values = settings_of(site, **PRODUCTION)
    conf = Conf()
    vars(conf).update(connect_timeout=values["API_CONNECT_TIMEOUT"], read_timeout=values["API_READ_TIMEOUT"])
    longest = 3 * conf.attempt_seconds + conf.lease_seconds + LEASE_MARGIN_SECONDS + STORE_SECONDS
    longest += values["DATABASES"]["default"]["OPTIONS"]["timeout"]

    assert runpy.run_path(str(ROOT / "gunicorn.conf.py"))["graceful_timeout"] > longest


class TestDatabase:
    def test_it_is_an_sqlite_file_that_survives_many_processes_and_power_failures(self, site: Path) -> None:
        database = settings_of(site, **PRODUCTION)["DATABASES"]["default"]

        assert database["ENGINE"] == "django.db.backends.sqlite3"
        assert Path(database["NAME"]) == site / "db.sqlite3"
        assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
        assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]
        assert "synchronous=FULL" in database["OPTIONS"]["init_command"]

    def test_or_postgresql_that_is_not_waited_for(self, site: Path) -> None:
        url = "postgres://ada:tide%20table@db.example.com:5433/site"

        database = settings_of(site, **PRODUCTION, DATABASE_URL=url)["DATABASES"]["default"]

        assert database["ENGINE"] == "config.postgresql"
        assert (database["HOST"], database["PORT"], database["NAME"]) == ("db.example.com", 5433, "site")
        assert (database["USER"], database["PASSWORD"]) == ("ada", "tide table")
        assert database["OPTIONS"]["connect_timeout"] == 2

    def test_or_mariadb_in_utc_that_is_not_waited_for(self, site: Path) -> None:
        database = settings_of(site, **PRODUCTION, DATABASE_URL="mysql://db.example.com/site")["DATABASES"]["default"]

        assert "SET time_zone = '+00:00'" in database["OPTIONS"]["init_command"]
        assert (database["OPTIONS"]["connect_timeout"], database["OPTIONS"]["read_timeout"]) == (2, 6)

    def test_its_connections_are_pooled(self, site: Path) -> None:
        url = "postgres://db.example.com/site"

        database = settings_of(site, **PRODUCTION, DATABASE_URL=url, DATABASE_POOL_SIZE="5")["DATABASES"]["default"]

        assert (database["OPTIONS"]["pool"]["max_size"], database["CONN_MAX_AGE"]) == (3, 0)


def test_a_log_level_can_be_set(site: Path) -> None:
    assert settings_of(site, **PRODUCTION)["LOGGING"]["root"]["level"] == "INFO"
    assert settings_of(site, **PRODUCTION, LOG_LEVEL="DEBUG")["LOGGING"]["root"]["level"] == "DEBUG"


class TestTheDebugToolbar:
    def test_a_developer_who_asks_for_it_gets_it_with_what_it_shows(self, site: Path) -> None:
        settings = settings_of_manage_py(site, DEBUG_TOOLBAR="true")

        assert "debug_toolbar" in settings["INSTALLED_APPS"]
        assert settings["API_TRACE"] is True

    def test_nobody_gets_it_unasked(self, site: Path) -> None:
        settings = settings_of_manage_py(site)

        assert "debug_toolbar" not in settings["INSTALLED_APPS"]
        assert settings["API_TRACE"] is False

    def test_production_never_has_it(self, site: Path) -> None:
        settings = settings_of(site, **PRODUCTION, DEBUG_TOOLBAR="true")

        assert not any("debug_toolbar" in name for name in (*settings["INSTALLED_APPS"], *settings["MIDDLEWARE"]))
        assert (settings["DEBUG_TOOLBAR"], settings["API_TRACE"]) == (False, False)
