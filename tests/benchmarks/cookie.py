"""`cookie`: what it takes to open and to seal the session cookie, and how long it is, beside other ways to do that.

All of them keep the same session: a user, a token pair, and what the site notes about it. CPU time of this process.
"""

import json
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

import jwt
from cryptography.fernet import Fernet
from django.conf import settings
from django.core import signing
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from accounts.session.api_session import ApiSession
from accounts.session.tokens import User, receive_pair
from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.load.site import KEY

PAIR_BYTES = (1200, 3500)
OURS = "this site"
TIMES = 200
_MAX_GROUPS = 1000


class Way(NamedTuple):
    """A way to keep a session in a cookie."""

    seal: Callable[[], str]
    open: Callable[[str], Any]
    encrypts: str = "yes"


def measure_cookies(report: Report, rounds: int) -> None:
    """Opening and sealing, as multiples of what they take here, and the length of what is sealed."""
    if not settings.configured:
        settings.configure(SECRET_KEY=KEY, API_SESSION_KEYS=[KEY])
    rows: list[list[Cell | Ratio]] = []
    for pair_bytes in PAIR_BYTES:
        ways = ways_to_keep(session_of(pair_bytes))
        texts = {name: way.seal() for name, way in ways.items()}
        opening = alternate({name: partial(cpu, partial(way.open, texts[name])) for name, way in ways.items()}, rounds)
        sealing = alternate({name: partial(cpu, way.seal) for name, way in ways.items()}, rounds)
        for name, way in ways.items():
            times = [ratio(figures[name], to=figures[OURS]) for figures in (opening, sealing)]
            rows.append([name, pair_bytes, way.encrypts, len(texts[name]), *times])
    report.add(
        Table(
            "cookie",
            f"Opening and sealing a session, as multiples of the CPU time that {OURS} takes",
            ("way", "token pair, bytes", "encrypted", "cookie, bytes", "opening", "sealing"),
            rows,
            f"Medians and quartiles of {rounds} alternating rounds of {TIMES}. A pair is the bytes of both tokens.",
        )
    )


def session_of(pair_bytes: int) -> ApiSession:
    """A session whose tokens are JWTs and have so many bytes together, or a few more: access tokens grow by groups."""
    for groups in range(_MAX_GROUPS):
        access = _token(scope="openid profile email", groups=[str(uuid4()) for _ in range(groups)])
        pair = receive_pair(access, _token(typ="Refresh", jti=secrets.token_hex(16), sid=secrets.token_hex(16)))
        if len(pair.access) + len(pair.refresh) >= pair_bytes:
            return ApiSession.begin(User(id=7, name="ada@example.com", email="ada@example.com"), pair)
    raise ValueError("no number of groups makes a pair of that size")


def _token(**claims: object) -> str:
    now = int(time.time())
    known = {"iss": "https://id.example.com/realms/readings", "sub": secrets.token_hex(16), "iat": now}
    return jwt.encode({**known, "exp": now + 3600, **claims}, KEY, algorithm="HS256")


def ways_to_keep(session: ApiSession) -> dict[str, Way]:
    """This site's, Django's signed_cookies, Fernet, and JWE with a shared key; by name."""
    tokens, user = session.tokens, session.user
    content = {
        "id": session.id.hex,
        "secret": session.secret.hex(),
        "user": [user.id, user.name, user.email],
        "tokens": [tokens.access, tokens.refresh],
        "times": [tokens.received_at, tokens.access_expires_at, tokens.refresh_expires_at, session.signed_in_at],
        "generation": [session.generation, session.confirmed],
    }
    # As django.contrib.sessions.backends.signed_cookies calls it.
    salt = "django.contrib.sessions.backends.signed_cookies"
    fernet = Fernet(Fernet.generate_key())
    key = JWK.generate(kty="oct", size=256)

    def as_jwe() -> str:
        jwe = JWE(json.dumps(content), json.dumps({"alg": "dir", "enc": "A256GCM"}))
        jwe.add_recipient(key)
        return str(jwe.serialize(compact=True))

    def from_jwe(text: str) -> Any:
        jwe = JWE()
        jwe.deserialize(text, key)
        return json.loads(jwe.payload)

    return {
        OURS: Way(session.seal_for_cookie, ApiSession.open_cookie),
        "Django's signed_cookies": Way(
            lambda: signing.dumps(content, salt=salt, compress=True),
            lambda text: signing.loads(text, salt=salt, max_age=14 * 24 * 3600),
            encrypts="no",
        ),
        "Fernet (cryptography)": Way(
            lambda: fernet.encrypt(json.dumps(content).encode()).decode(),
            lambda text: json.loads(fernet.decrypt(text)),
        ),
        "JWE, dir + A256GCM (jwcrypto)": Way(as_jwe, from_jwe),
    }


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds that this thread takes to do it once, of so many times."""
    before = time.thread_time()
    for _ in range(TIMES):
        work()
    return (time.thread_time() - before) / TIMES
