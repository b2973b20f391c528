"""What an endpoint's way in may be: its address, query parameters, headers, and where its sessions are minted."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qsl, urlsplit

from kioskd.config.schema import Auth, Endpoint, EndpointKind, Mint, MintKind, Transport
from kioskd.config.secrets import KEY_PLACES, SHOWN_PARAMETERS, is_key_parameter

AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")

_PARAMETER = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110, 5.6.2
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})
# Those of the upgrade itself, and of the request that mints.
_OWN_HEADERS = frozenset(
    {"host", "connection", "upgrade", "content-length", "content-type", "transfer-encoding", "accept-encoding"}
)

Finding = tuple[str, str]  # the key below the endpoint, the message


def check(endpoint: Endpoint) -> Iterator[Finding]:
    """Every contradiction in an endpoint's way in; an endpoint on this machine has none."""
    if endpoint.kind is EndpointKind.LOCAL:
        return
    yield from _url(endpoint)
    yield from _parameters(endpoint)
    yield from _headers(endpoint)
    if endpoint.mint is not None:
        yield from _mint(endpoint, endpoint.mint)


def split(text: str) -> SplitResult | None:
    """The parts of a URL, or None where it has none, an impossible port, or characters that no URL has."""
    if not text.isascii() or " " in text or not text.isprintable():
        return None
    try:
        url = urlsplit(text)
        # The port is parsed only when it is asked for.
        return url if url.port != 0 else None
    except ValueError:
        return None


def host_of(text: str) -> str:
    """The host of a URL, empty where it has none."""
    url = split(text)
    return (url.hostname or "") if url is not None else ""


def is_loopback(host: str) -> bool:
    """True for localhost and the loopback addresses: what is sent there never leaves the machine (RFC 6761, 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def by_socket(endpoint: Endpoint) -> bool:
    """Whether its address is a WebSocket's; else it is that of plain HTTP requests."""
    match endpoint.kind:
        case EndpointKind.REALTIME | EndpointKind.RESPONSES:
            return True
        case EndpointKind.CHAT:
            return endpoint.transport is Transport.WEBSOCKET
    return False


def _url(endpoint: Endpoint) -> Iterator[Finding]:
    url = split(endpoint.url)
    if url is None or not url.hostname:
        yield "url", f"is no URL of a server; it looks like {_example(endpoint)}"
        return
    yield from _without_secrets("url", url)
    safe, plain = ("wss", "ws") if by_socket(endpoint) else ("https", "http")
    if url.scheme not in (safe, plain):
        yield "url", f"must begin with {safe}://{_why_this_scheme(endpoint)}"
    elif url.scheme == plain and not endpoint.plain_text_allowed and not is_loopback(url.hostname):
        yield "url", f"would send the key and the visitor's voice unencrypted; use {safe}://, {_OR_PLAIN_TEXT}"
    if url.hostname.endswith(AZURE_HOSTS) and url.path.startswith("/openai/v1/"):
        named = {name for name, _ in parse_qsl(url.query, keep_blank_values=True)}
        if "api-version" in named | set(endpoint.query):
            place = "url" if "api-version" in named else "query"
            yield place, "names an api-version, to which this address of Azure's answers 401; remove it"


def _example(endpoint: Endpoint) -> str:
    match endpoint.kind:
        case EndpointKind.REALTIME:
            return "wss://api.openai.com/v1/realtime"
        case EndpointKind.RESPONSES:
            return "wss://api.openai.com/v1/responses"
    return "wss://HOST/v1/ws" if by_socket(endpoint) else "https://api.openai.com/v1/chat/completions"


def _why_this_scheme(endpoint: Endpoint) -> str:
    match endpoint.kind:
        case EndpointKind.REALTIME:
            return ""
        case EndpointKind.CHAT:
            return f", as the transport {endpoint.transport.value} wants it"
    return f", as the kind {endpoint.kind.value} wants it"


def check_helper(endpoint: Endpoint, key: str, text: str) -> Iterator[Finding]:
    """Every contradiction in the address of who hears or speaks for a text model."""
    url = split(text)
    if url is None or not url.hostname:
        yield key, f"is no URL of a server; it looks like https://api.openai.com/v1/audio/{_AUDIO_PATHS[key]}"
        return
    yield from _without_secrets(key, url)
    if url.scheme not in ("https", "http"):
        yield key, "must begin with https://"
    elif url.scheme == "http" and not endpoint.plain_text_allowed and not is_loopback(url.hostname):
        yield key, f"would send the key and what was said unencrypted; use https://, {_OR_PLAIN_TEXT}"


_AUDIO_PATHS = {"hearing.url": "transcriptions", "speech.url": "speech"}
_OR_PLAIN_TEXT = "or, for a server in your own network, set plain_text_allowed: true"


def _without_secrets(key: str, url: SplitResult) -> Iterator[Finding]:
    if url.username is not None:
        yield key, f"holds a user name or a password before the @; {KEY_PLACES}"
    for name, _ in parse_qsl(url.query, keep_blank_values=True):
        if is_key_parameter(name):
            yield key, f"holds the parameter {name}=; {KEY_PLACES}"
    if url.fragment:
        yield key, "holds a #, behind which nothing is sent; remove that part"


def _parameters(endpoint: Endpoint) -> Iterator[Finding]:
    for name in endpoint.query:
        if is_key_parameter(name):
            yield f"query.{name}", f"would be a key; {KEY_PLACES}, and set auth: query"
        elif not _PARAMETER.fullmatch(name):
            yield "query", "has a name that is not 1 to 64 letters, digits, - _ . and ~"
    for key in ("model_parameter", "key_parameter"):
        if not _PARAMETER.fullmatch(getattr(endpoint, key)):
            yield key, "must be 1 to 64 letters, digits, - _ . and ~"
    taken = {endpoint.model_parameter, *endpoint.query, *SHOWN_PARAMETERS}
    if endpoint.auth is Auth.QUERY and endpoint.key_parameter in taken:
        yield "key_parameter", f"{endpoint.key_parameter} carries something else; name the parameter of the key"


def _headers(endpoint: Endpoint) -> Iterator[Finding]:
    seen: set[str] = set()
    for name, value in endpoint.headers.items():
        low = name.lower()
        if low in _SECRET_HEADERS or is_key_parameter(low):
            yield f"headers.{name}", f"carries a key; {KEY_PLACES}; auth says how it travels"
        elif low in _OWN_HEADERS or low.startswith("sec-websocket-"):
            yield f"headers.{name}", "is set by kioskd itself; remove the line"
        elif not _HEADER_NAME.fullmatch(name):
            yield "headers", "has a name that no header has: 1 to 64 letters, digits and -, no colon"
        elif low in seen:
            yield f"headers.{name}", "is given twice, in small and large letters; keep one"
        if not value.isascii():
            yield f"headers.{name}", "holds characters that no header has (not plain ASCII)"
        seen.add(low)


def _mint(endpoint: Endpoint, mint: Mint) -> Iterator[Finding]:
    if mint.url is None:
        if mint.kind is MintKind.BROKER:
            yield "mint.url", "is missing; a broker has an address of its own"
        return
    url = split(mint.url)
    if url is None or not url.hostname:
        yield "mint.url", "is no URL of a server; it looks like https://broker.example/kiosk"
        return
    yield from _without_secrets("mint.url", url)
    if url.scheme not in ("https", "http"):
        yield "mint.url", "must begin with https://"
    elif url.scheme == "http" and not endpoint.plain_text_allowed and not is_loopback(url.hostname):
        yield "mint.url", f"would send keys unencrypted; use https://, {_OR_PLAIN_TEXT}"
