"""What hearing and speech over HTTP have in common: where they are, their key, their connections."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import trio
from attrs import evolve

from kioskd.config.schema import Auth, Endpoint, KeySource
from kioskd.endpoints.http_stream import client_for
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text.model import ModelError

HEARING_PATH = "/v1/audio/transcriptions"
SPEECH_PATH = "/v1/audio/speech"
_PLAIN_SCHEMES = {"wss": "https", "ws": "http"}


def hearing_endpoint(settings: Endpoint) -> Endpoint:
    """The settings of an endpoint as its hearing is spoken with: that address, model and key."""
    hearing = settings.hearing
    return _helper_of(settings, hearing.url, HEARING_PATH, hearing.model, hearing.key)


def speech_endpoint(settings: Endpoint) -> Endpoint:
    """The settings of an endpoint as its speech is spoken with: that address, model and key."""
    speech = settings.speech
    return _helper_of(settings, speech.url, SPEECH_PATH, speech.model, speech.key)


def _helper_of(settings: Endpoint, url: str | None, path: str, model: str, key: KeySource | None) -> Endpoint:
    parts = urlsplit(settings.url)
    scheme = _PLAIN_SCHEMES.get(parts.scheme, parts.scheme)
    found = evolve(
        settings,
        url=url or urlunsplit((scheme, parts.netloc, path, "", "")),
        model=model,
        key=key or settings.key,
        beta_header=False,
    )
    if urlsplit(found.url).netloc == parts.netloc:
        # A key in the address is a way into a socket, for those who can give an upgrade no headers.
        by_socket = parts.scheme in _PLAIN_SCHEMES
        return evolve(found, auth=Auth.BEARER) if by_socket and found.auth is Auth.QUERY else found
    return evolve(found, auth=Auth.AUTO, headers={}, query={})  # they may hold what only the first host may know


class HelperOverHttp:
    """One of the two. `settings` are its own (see `hearing_endpoint`), and so is the key that `read_key` finds."""

    def __init__(self, settings: Endpoint, read_key: Callable[[], str]) -> None:
        self.settings = settings
        self.client = client_for(settings)
        self._read_key = read_key

    async def run(self) -> None:
        """Its connections live as long as this."""
        try:
            await trio.sleep_forever()
        finally:
            await self.client.aclose()
            self.client = client_for(self.settings)

    async def check(self) -> None:
        """Whether there is a key. What it is worth is only known when it is used. Raises ModelError."""
        self.key()

    def key(self) -> str:
        """Raises ModelError."""
        try:
            return self._read_key()
        except (OSError, ValueError) as error:
            raise ModelError(Failure(Kind.KEY, str(error))) from None
