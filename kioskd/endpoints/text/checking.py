"""Whether a key is good there, at no cost: `/v1/auth/verify` where there is one, else `/v1/models`."""

from __future__ import annotations

import json
from urllib.parse import urlsplit, urlunsplit

import httpx
from attrs import evolve

from kioskd.config.schema import Auth, Endpoint
from kioskd.endpoints.http_stream import open_stream, request_for
from kioskd.endpoints.policy import LIMIT_CODES, Failure
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
CREDITS_MAX = 1e15  # no account holds more, and a float takes no number of a thousand digits
BODY_MAX = 4 * 2**20  # a gateway's list of models is long
_TELLING = frozenset({402, 429})  # what is said of the account, and not of the address


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
                if _is_telling(failure):
                    raise ModelError(failure) from None
                self._addresses.remove(url)
                continue
            if found is None:  # a site that has a page for everything
                self._addresses.remove(url)
                continue
            self._note_credits(found.get("credits"))
            self.asked = urlsplit(url).path
            return

    def _note_credits(self, told: object) -> None:
        if isinstance(told, (int, float)) and not isinstance(told, bool) and told < CREDITS_MAX:
            self.credits = float(told)


def _is_telling(failure: Failure) -> bool:
    """Whether questions would fare the same.

    A key may be good for questions, and not for lists of models: an interface says 403, or names the scope. A 403
    without an error in it is a firewall's, and counts for all that lies behind.
    """
    status = failure.status
    match status:
        case None:
            return True
        case 401:
            return "scope" not in failure.message.lower()
        case 403:
            return failure.code is None
    return status in _TELLING or failure.code in LIMIT_CODES or status >= 500


def _object(body: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list):  # some list their models without an object around them
        return {}
    return found if isinstance(found, dict) else None
