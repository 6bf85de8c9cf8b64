"""oidc-provider from npm: `with OidcProvider() as api:`. Tests with it are skipped where node or npm is missing."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal

import pytest
from jwcrypto.jwk import JWK

from tests.demo_api.readings import ROWS
from tests.demo_api.recorded import reserve_port
from tests.demo_api.users import DEMO_USERS
from tests.real_apis.apis import AnyProvider
from tests.real_apis.oauth.client import CLIENT_ID, CLIENT_SECRET, SCOPE
from tests.real_apis.process import Program

PROGRAM = Path(__file__).with_name("oidc_provider")
OLDEST_NODE = 20
INSTALL_SECONDS = 300.0
Par = Literal["absent", "offered", "required"]


class OidcProvider(AnyProvider):
    """
    oidc-provider, with itself as the API. Its refresh tokens work once; a second use ends the grant. Lives are in
    seconds. Nobody is asked for consent, except with prompt=consent.

    With `private_key_jwt`, the client has no secret. `par` says whether the provider has an endpoint for pushed
    authorization requests, and whether this client has to use it. With `dpop`, the client's tokens are bound to a key,
    and with `dpop_nonces` each proof needs a nonce: of the provider, or of the API, which are not the same. `fapi` is
    the FAPI 2.0 Security Profile.
    """

    sign_in_call = ("POST", "/token")
    refresh_call = ("POST", "/token")
    revoke_call = ("POST", "/token/revocation")
    par_call = ("POST", "/request")

    def __init__(
        self,
        port: int = 0,
        access_ttl: int = 60,
        refresh_ttl: int = 1800,
        *,
        private_key_jwt: bool = False,
        par: Par = "absent",
        dpop: bool = False,
        dpop_nonces: bool = False,
        fapi: bool = False,
    ) -> None:
        super().__init__("oidc-provider", port=port)
        self._key = JWK.generate(kty="EC", crv="P-256") if private_key_jwt else None
        self._options = {
            "access_ttl": access_ttl,
            "refresh_ttl": refresh_ttl,
            "par": par,
            "dpop": dpop,
            "dpop_nonces": dpop_nonces,
            "fapi": fapi,
            "client": {
                "client_id": CLIENT_ID,
                "grant_types": ["authorization_code", "refresh_token"],
                "require_pushed_authorization_requests": par == "required",
                **({"dpop_bound_access_tokens": True} if dpop else {}),
                **self._client_authentication(),
            },
            "users": DEMO_USERS,
            "rows": ROWS,
        }

    def start_program(self) -> Program:
        folder = installed()
        # The issuer has the port of the front.
        self._reserved = self._reserved or reserve_port(self._host, self._port)
        assert self._reserved
        self._port = self._reserved.getsockname()[1]
        options = json.dumps({**self._options, "issuer": self.issuer})
        return Program("oidc-provider", command=("node", str(PROGRAM / "main.mjs"), str(folder), options))

    @property
    def issuer(self) -> str:
        return self.url

    @property
    def site_environment(self) -> dict[str, str]:
        common = {
            "API_BASE_URL": self.url,
            "API_DIALECT": "oauth2",
            "OAUTH_ISSUER": self.issuer,
            "OAUTH_CLIENT_ID": CLIENT_ID,
            "OAUTH_SCOPE": SCOPE,
        }
        if self._key is None:
            return {**common, "OAUTH_CLIENT_SECRET": CLIENT_SECRET}
        pem = self._key.export_to_pem(private_key=True, password=None).decode()
        return {**common, "OAUTH_CLIENT_AUTH": "private_key_jwt", "OAUTH_CLIENT_KEY": pem}

    def register_back_channel_logout(self, url: str) -> None:
        """Post logout tokens to the site at this address. They and later ID tokens have the `sid` of a session."""
        uri = f"{url}/accounts/backchannel-logout/"
        self.set_client(backchannel_logout_uri=uri, backchannel_logout_session_required=True)

    def read_keys_from(self, url: str) -> None:
        """Take the client's public keys from the site at this address."""
        self.set_client(jwks=None, jwks_uri=f"{url}/accounts/jwks.json")

    def set_client(self, **fields: Any) -> None:
        """Change these fields of the client's registration, and remove those that are None."""
        self.program.order("set_client", fields)

    def change_api_nonce(self) -> None:
        """From now on, the API accepts proofs with its next nonce only."""
        self.program.order("change_api_nonce")

    def end_sessions(self, email: str) -> list[str]:
        """End this user's sessions at the provider, with a back-channel logout. Returns "" or the error of each."""
        results: list[str] = self.program.order("end_sessions", email)
        return results

    def _client_authentication(self) -> dict[str, Any]:
        if self._key is None:
            return {"client_secret": CLIENT_SECRET}
        jwk = {**self._key.export_public(as_dict=True), "kid": self._key.thumbprint(), "use": "sig"}
        return {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [jwk]}}


def installed() -> Path:
    """The folder with oidc-provider's node_modules, in the user's cache. The first call makes it. May skip the test.

    With CI=true, only an npm registry that cannot be reached skips it.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        _skip("No node with npm, so no test with oidc-provider here")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        _skip(f"node is {version}, too old for oidc-provider, so no test with it here")
    folder = _install()
    if folder is None:
        pytest.skip("npm cannot install oidc-provider (is its registry reachable?), so no test with it here")
    return folder


@functools.cache
def _install() -> Path | None:
    """Install oidc-provider unless that was done before. Returns its folder, or None if npm fails."""
    lock = (PROGRAM / "package-lock.json").read_bytes()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "django-api-session-tests" / f"oidc-provider-{hashlib.sha256(lock).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        made = Path(name) / "made"
        made.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(PROGRAM / file, made)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries", "1"]
        try:
            run = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        if run.returncode:
            return None
        try:
            made.rename(folder)
        except OSError:
            assert folder.is_dir(), "another process has made it meanwhile"
    return folder


def _skip(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
