"""Addresses in the environment: what is around them is removed, and an unusable one keeps the site from starting."""

from pathlib import Path

import pytest

from tests.config.processes import PRODUCTION, copy_site, settings_of, start


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return copy_site(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("API_BASE_URL", "http://user:tide-table@a\npi:8000"),
        ("API_BASE_URL", "http://api:8000\t1"),
        ("API_BASE_URL", "api.example.com"),
        ("API_BASE_URL", "https://api.example.com/v1?key=1"),
        ("API_BASE_URL", "\n"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OAUTH_ISSUER", "https://login.exam ple.com"),
        ("OAUTH_TOKEN_ENDPOINT", "/token"),
    ],
)
def test_with_an_address_that_cannot_be_called_no_server_starts(site: Path, name: str, text: str) -> None:
    process = start(site, **{**PRODUCTION, name: text})

    assert process.returncode != 0
    last_line = process.stderr.strip().splitlines()[-1]
    assert last_line.startswith(f"django.core.exceptions.ImproperlyConfigured: {name} is not a valid address. ")
    assert "tide-table" not in process.stderr


def test_spaces_and_line_ends_around_an_address_do_not_count(site: Path) -> None:
    around = {"API_BASE_URL": " http://api:8000\r\n", "OAUTH_JWKS_URI": "\thttps://keys.example.com/?a=b\n"}

    values = settings_of(site, **{**PRODUCTION, **around})

    assert [values[name] for name in around] == ["http://api:8000", "https://keys.example.com/?a=b"]
