"""oidc-provider from npm: `with OidcProvider() as api:`. Tests with it are skipped where node or npm is missing."""

import json
import os
from pathlib import Path
from typing import Any, Literal

import pytest
from jwcrypto.jwk import JWK

from tests.demo_api.readings import ROWS
from tests.demo_api.recorded import reserve_port
from tests.demo_api.users import DEMO_USERS
from tests.real_apis.apis import AnyProvider
from tests.real_apis.npm import CannotInstall, install
from tests.real_apis.oauth.client import CLIENT_ID, CLIENT_SECRET, SCOPE
from tests.real_apis.process import Program

PROGRAM = Path(__file__).with_name("oidc_provider")
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
            **({"OAUTH_DPOP": "true"} if self._options["dpop"] else {}),
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
        return {"token_endpoint_auth_method": "private_key_jwt", "jwks": self.client_keys}

    @property
    def client_keys(self) -> dict[str, Any]:
        """The public key of the client, as it was registered."""
        assert self._key is not None
        return {"keys": [{**self._key.export_public(as_dict=True), "kid": self._key.thumbprint(), "use": "sig"}]}


def installed() -> Path:
    """The folder with oidc-provider's node_modules. May skip the test: with CI=true, only if npm's registry fails."""
    try:
        return install(PROGRAM, "oidc-provider")
    except CannotInstall as error:
        reason = f"No test with oidc-provider here: {error}"
        if os.environ.get("CI") and not error.is_registry:
            pytest.fail(reason)
        pytest.skip(reason)
