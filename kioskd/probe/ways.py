"""The ways to an endpoint: the one of the settings, and for a text model the others that its host may have."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import evolve, frozen

from kioskd.config.schema import Auth, Endpoint, EndpointKind, Envelope, Transport
from kioskd.endpoints.text.checking import house_of
from kioskd.probe.ceiling import bounded
from kioskd.probe.results import Takes

_SOCKETS = {"https": "wss", "http": "ws"}


@frozen
class Way:
    """`endpoint` is its settings with this way in them. `configured`: they are the owner's own."""

    label: str
    takes: Takes
    endpoint: Endpoint
    configured: bool = True


def ways_of(endpoint: Endpoint) -> list[Way]:
    """The one of the settings first. Whether the others are there, only asking shows."""
    if endpoint.kind not in (EndpointKind.CHAT, EndpointKind.RESPONSES):
        return [Way(label_of(endpoint), Takes.VOICE, bounded(endpoint, Takes.VOICE))]
    own = bounded(endpoint, Takes.TEXT)
    found = [Way(label_of(own), Takes.TEXT, own)]
    taken = {_identity(own)}
    for other in _others(own):
        if _identity(other) not in taken:
            taken.add(_identity(other))
            found.append(Way(label_of(other), Takes.TEXT, other, configured=False))
    return found


def label_of(endpoint: Endpoint) -> str:
    """A way in a few words: of those to one endpoint, no two have the same."""
    match endpoint.kind:
        case EndpointKind.REALTIME:
            return f"realtime {endpoint.dialect.value}"
        case EndpointKind.RESPONSES:
            return f"responses {endpoint.envelope.value}"
        case EndpointKind.CHAT if endpoint.transport is Transport.WEBSOCKET:
            path = urlsplit(endpoint.url).path.removeprefix("/v1")
            return f"chat socket {path}"
        case EndpointKind.CHAT:
            return f"chat {endpoint.transport.value}"
    return str(endpoint.kind.value)


def _others(own: Endpoint) -> list[Endpoint]:
    """What a text model's host may have, too. None of them carries the key in its address unless the owner's does."""
    house = house_of(own.url)
    parts = urlsplit(house)
    sockets = parts._replace(scheme=_SOCKETS.get(parts.scheme, parts.scheme)).geturl()
    plain = evolve(own, kind=EndpointKind.CHAT, envelope=Envelope.TOP_LEVEL, beta_header=False)
    if own.kind is EndpointKind.CHAT and own.transport is Transport.WEBSOCKET and own.auth is Auth.QUERY:
        plain = evolve(plain, auth=Auth.AUTO)
    posts = evolve(plain, url=f"{house}/chat/completions")
    found = [evolve(posts, transport=Transport.SSE), evolve(posts, transport=Transport.PLAIN)]
    found += [
        evolve(plain, transport=Transport.WEBSOCKET, url=f"{sockets}/{path}", query=_without_stream(own))
        for path in ("ws/stream", "ws")
    ]
    if own.kind is EndpointKind.CHAT:
        found.append(evolve(plain, kind=EndpointKind.RESPONSES, transport=Transport.SSE, url=f"{sockets}/responses"))
    return found


def _without_stream(own: Endpoint) -> dict[str, str]:
    return {name: value for name, value in own.query.items() if name != "stream"}


def _identity(endpoint: Endpoint) -> tuple[object, ...]:
    return endpoint.kind, endpoint.transport, urlsplit(endpoint.url)[:3]
