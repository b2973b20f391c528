"""The way in: what a connection is opened with, straight from the settings or minted for this one session."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

from attrs import evolve, frozen

from kioskd.config.schema import Auth, Endpoint, Mint, MintKind
from kioskd.config.secrets import SHOWN_PARAMETERS, is_key_parameter, mask_keys
from kioskd.realtime import dialects

if TYPE_CHECKING:
    from kioskd.endpoints.mint import Minted

_LEAST_SECRET = 4  # a shorter value of a query is no secret, and its letters are in every text


@frozen(repr=False, unsafe_hash=False)
class Door:
    """An address and its headers, secrets and all: for `dial`, for no text. `secrets` are hidden by `hide`."""

    url: str
    headers: list[tuple[bytes, bytes]]
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        parts = urlsplit(self.url)
        return f"Door({parts.scheme}://{parts.hostname}/...)"

    def hide(self, text: str) -> str:
        """The text with stars for what opens this door, however it is quoted."""
        for secret in sorted(self.secrets, key=len, reverse=True):  # a part of another one must not spoil it
            for written in {secret, quote(secret, safe=""), quote_plus(secret)}:
                text = text.replace(written, "***")
        return mask_keys(text)


async def open_door(settings: Endpoint, key: str) -> Door:
    """What the next connection is opened with. `key` may be empty only for a broker that wants none.

    Raises DialError where nothing could be minted, ValueError for a key that no header can hold.
    """
    if settings.mint is None:
        headers = dialects.headers(settings, key)
        return Door(dialects.with_key(settings, dialects.resource_url(settings), key), headers, (key,))
    from kioskd.endpoints.mint import mint

    minted = await mint(settings, settings.mint, key)
    return _minted_door(settings, settings.mint, key, minted)


def _minted_door(settings: Endpoint, plan: Mint, key: str, minted: Minted) -> Door:
    url = dialects.resource_url(settings) if minted.url is None else minted.url
    secrets = tuple(secret for secret in (key, minted.key, *_values(minted.url)) if secret)
    if minted.key is not None:
        settings = evolve(settings, auth=_auth_of_minted(settings, plan))
        opens = minted.key
    elif plan.kind is MintKind.BROKER or _holds_key(url):
        return Door(url, dialects.more_headers(settings), secrets)  # the address alone opens it
    else:
        opens = key
    headers = dialects.key_headers(settings, opens) + dialects.more_headers(settings)
    return Door(dialects.with_key(settings, url, opens), headers, secrets)


def _auth_of_minted(settings: Endpoint, plan: Mint) -> Auth:
    """A token is a bearer's, also at Azure; but a broker may hand out anything, so there `auth` has a say."""
    if settings.auth is Auth.QUERY or (plan.kind is MintKind.BROKER and settings.auth is not Auth.AUTO):
        return settings.auth
    return Auth.BEARER


def _holds_key(url: str) -> bool:
    return any(is_key_parameter(name) for name, _ in parse_qsl(urlsplit(url).query))


def _values(url: str | None) -> list[str]:
    """What of a minted address could be a secret."""
    query = parse_qsl(urlsplit(url or "").query)
    return [value for name, value in query if name not in SHOWN_PARAMETERS and len(value) >= _LEAST_SECRET]
