"""Whether a key is good there, at no cost: `/v1/auth/verify` where there is one, else `/v1/models`."""

from __future__ import annotations

import json
from urllib.parse import urlsplit, urlunsplit

import httpx
from attrs import evolve

from kioskd.config.schema import Auth, Endpoint
from kioskd.endpoints.http_stream import open_stream, request_for
from kioskd.endpoints.policy import LIMIT_CODES
from kioskd.endpoints.text.model import ModelError
from kioskd.endpoints.text.shops import with_hint

_SCHEMES = {"wss": "https", "ws": "http"}
_DOORS = (  # what of an address is the door, and not the house; the longer first
    "/chat/completions",
    "/ws/stream",
    "/responses",
    "/realtime",
    "/stream",
    "/ws",
)
BODY_MAX = 4 * 2**20  # a gateway's list of models is long
_TELLING = frozenset({401, 402, 403, 429})  # what is said of the key or the account, and not of the address


def house_of(url: str) -> str:
    """What a host's addresses begin with: wss://H/v1/ws/stream?model=M -> https://H/v1"""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    door = next((door for door in _DOORS if path.endswith(door)), "")
    return urlunsplit((_SCHEMES.get(parts.scheme, parts.scheme), parts.netloc, path.removesuffix(door), "", ""))


def asking(client: httpx.AsyncClient, settings: Endpoint, key: str, url: str) -> httpx.Request:
    """A GET. A key that travels in addresses travels in a header here: only sockets can't do without."""
    if settings.auth is Auth.QUERY:
        settings = evolve(settings, auth=Auth.BEARER)
    return request_for(client, settings, key, url, method="GET")


class KeyCheck:
    """Asks with a GET, and remembers which of the addresses there is."""

    def __init__(self, settings: Endpoint) -> None:
        self.credits: float | None = None
        """What the account held when it was last asked, in its seller's own unit; None where none is told."""
        self.asked = ""
        """The path that vouched for the key when it was last asked; empty where there was none."""
        self._settings = settings
        house = house_of(settings.url)
        self._addresses = [f"{house}/auth/verify", f"{house}/models"]

    async def run(self, client: httpx.AsyncClient, key: str) -> None:
        """Raises ModelError where the key is refused, or nobody answers. To have neither address is no failure."""
        for url in list(self._addresses):
            request = asking(client, self._settings, key, url)
            try:
                async with open_stream(client, self._settings, request) as answer:
                    found = _object(await answer.body(BODY_MAX))
            except ModelError as error:
                failure = with_hint(error.failure, request.url.host, key)
                status = failure.status
                if status is None or status in _TELLING or failure.code in LIMIT_CODES or status >= 500:
                    raise ModelError(failure) from None
                self._addresses.remove(url)
                continue
            if found is None:  # a site that has a page for everything
                self._addresses.remove(url)
                continue
            credits_left = found.get("credits")
            if isinstance(credits_left, (int, float)) and not isinstance(credits_left, bool):
                self.credits = float(credits_left)
            self.asked = urlsplit(url).path
            return


def _object(body: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list):  # some list their models without an object around them
        return {}
    return found if isinstance(found, dict) else None
