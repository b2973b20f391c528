"""What a client is told before it starts, and the sound that each of them says: chunks of 20 ms, then 100 ms."""

from __future__ import annotations

import json

from attrs import asdict, frozen

from kioskd.bench.canned import BYTES_PER_MS

FIRST_CHUNK_BYTES = 20 * BYTES_PER_MS  # as the kiosk does: soon on the wire, then few messages
CHUNK_BYTES = 100 * BYTES_PER_MS


@frozen
class Plan:
    """Where the server is, and whether there is a sound card (an ALSA name each, or none: then a clock paces)."""

    port: int
    control: int
    ca: str
    settings: str
    """The path of a kioskd.yaml."""
    microphone: str = ""
    speaker: str = ""
    profile: str = ""
    """Where to write what the time is spent on; empty: not profiled."""

    @property
    def url(self) -> str:
        """Of the server, without the query."""
        return f"wss://127.0.0.1:{self.port}/v1"

    @property
    def has_sound(self) -> bool:
        """Whether there are devices to be used."""
        return bool(self.microphone)

    def to_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


def chunk_sizes(total: int) -> list[int]:
    """How so many bytes of sound are cut into messages."""
    sizes = [min(total, FIRST_CHUNK_BYTES)]
    while (rest := total - sum(sizes)) > 0:
        sizes.append(min(rest, CHUNK_BYTES))
    return sizes
