"""Secrets that the owner hands to the running kiosk: they count at once, before what lies where they are read.

Kept in memory only; whoever hands one over has stored it for the next start (`kioskd secret set`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from kioskd.config.schema import Endpoint, KeySource, Settings
from kioskd.config.secrets import checked_key, endpoint_key, read_key


class Handed:
    """Reads every secret of the settings. `environ` is where the rest is found (see `config.secrets`)."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._values: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Handed({', '.join(self._values)})"

    def take(self, name: str, value: str) -> None:
        """From now on the credential `name` is this. Raises KeyUnavailable for what is no secret."""
        self._values[name] = checked_key(value.encode("utf-8", "surrogatepass"), f"credential {name}")

    def read(self, source: KeySource) -> str:
        """A secret by where it lies. Raises KeyUnavailable."""
        return self._values.get(source.credential or "") or read_key(source, self._environ)

    def key_of(self, endpoint: Endpoint) -> str:
        """An endpoint's key; empty where none is wanted. Raises KeyUnavailable."""
        return self._values.get(endpoint.key.credential or "") or endpoint_key(endpoint, self._environ)


def users_of(name: str, settings: Settings) -> list[str]:
    """What in these settings reads the credential `name`: endpoints by their names, and `webhook`."""
    users = [endpoint.name for endpoint in settings.endpoints if name in _credentials(endpoint)]
    if settings.webhook is not None and settings.webhook.address.credential == name:
        users.append("webhook")
    return users


def _credentials(endpoint: Endpoint) -> set[str | None]:
    helpers = (endpoint.hearing.key, endpoint.speech.key)
    return {endpoint.key.credential, *(source.credential for source in helpers if source is not None)}
