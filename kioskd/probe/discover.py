"""Which of the known paths and dialects a host answers. Nothing is asked of a model, so nothing is charged."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import trio
from attrs import evolve, field, frozen

from kioskd.config.addresses import is_loopback
from kioskd.config.schema import Auth, Endpoint, EndpointKind
from kioskd.config.secrets import mask_keys
from kioskd.endpoints.dial import dial
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.http_stream import client_for, open_stream, request_for
from kioskd.endpoints.policy import KEY_CODES, Failure, Kind
from kioskd.endpoints.text.model import ModelError
from kioskd.endpoints.websocket import ConnectionClosed
from kioskd.probe.doors import DOORS, Answers, Door, Found

WORD_S = 2.0  # for the first word of a socket
NO_KEY = "none-was-given"  # in its place: whatever has doors asks for a key
NO_PATH = "/v1/kioskd-asks-for-a-door-that-is-not-there"
# No request of any wire: each is refused, and nothing is charged. The second is at home in the envelope of its door.
NONSENSE = "[]"
NESTED_NONSENSE = '{"type": "response.create", "response": {"store": "neither yes nor no"}}'
_SAID_MAX = 150
_NESTED = "/v1/realtime"  # without a model in the address
_BETA = (b"OpenAI-Beta", b"realtime=v1")


@frozen
class _Said:
    """An answer as far as it counts: a status (101 for an upgrade), and the first words."""

    status: int | None
    words: str = ""
    code: str = ""
    dialect: str = ""
    failure: Failure | None = field(default=None, eq=False)


class HostError(ValueError):
    """This is no host to look at; the text says why."""


def host_settings(host: str, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, bool]:
    """How to reach a host ("api.example.com", "127.0.0.1:8900", or a URL), and whether it is one of the settings.

    The key goes to no other host than its own. Raises HostError.
    """
    text = host if "://" in host else f"https://{host}"
    try:
        parts = urlsplit(text)
        name, port = parts.hostname, parts.port
    except ValueError:
        name, port = None, None
    if not name or parts.username is not None:
        raise HostError(f"{host}: no host; name one such as api.example.com or https://api.example.com")
    scheme = {"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme)
    if scheme not in ("https", "http"):
        raise HostError(f"{host}: no address such as https://api.example.com")
    if "://" not in host and is_loopback(name):
        scheme = "http"
    if scheme == "http" and not is_loopback(name):
        raise HostError(f"{host}: would be asked in plain text; use https://")
    authority = f"[{name}]" if ":" in name else name
    base = f"{scheme}://{authority}" + (f":{port}" if port else "")
    for endpoint in endpoints:
        theirs = urlsplit(endpoint.url)
        encrypted = theirs.scheme in ("wss", "https")
        mine = (theirs.hostname, theirs.port or (443 if encrypted else 80), encrypted)
        if mine == (name, port or (443 if scheme == "https" else 80), scheme == "https"):
            return _plain(endpoint, base), True
    return Endpoint("host", base, kind=EndpointKind.CHAT), False


def _plain(endpoint: Endpoint, base: str) -> Endpoint:
    """As a host of many doors is asked: what is one door's own is left out."""
    auth = Auth.AUTO if endpoint.auth is Auth.QUERY else endpoint.auth  # nobody's log is to have the key
    return evolve(endpoint, url=base, query={}, beta_header=False, mint=None, max_tokens=None, auth=auth)


async def discover(
    settings: Endpoint, key: str, doors: Sequence[Door] = DOORS, tell: Callable[[str], None] = lambda _: None
) -> list[Found]:
    """Knock at every door. Raises ModelError where the host itself can't be reached."""
    key = key or NO_KEY
    nowhere = {method: await _knock(settings, key, Door(method, NO_PATH, "")) for method in ("GET", "POST", "WS")}
    for said in nowhere.values():
        if said.failure is not None and said.failure.kind in (Kind.DNS, Kind.CONNECT, Kind.PROXY, Kind.TLS):
            raise ModelError(said.failure)
    found = []
    for door in doors:
        tell(f"{door.method} {door.path} ...")
        said = await _knock(settings, key, door)
        found.append(judged(door, said, nowhere[door.method]))
    return found


def judged(door: Door, said: _Said, nowhere: _Said) -> Found:
    """What an answer means, held against that of a door which surely isn't there."""
    status = said.status
    words = said.words if status == 101 else (f"HTTP {status}" if status else said.words)
    if status in (404, 405, 501) and "model" not in said.code:
        return Found(door, Answers.NO, said=words)
    if status is None:
        return Found(door, Answers.UNCLEAR, said=words)
    if status == nowhere.status and (status != 101 or said.words == nowhere.words):
        return Found(door, Answers.UNCLEAR, said=f"{words}, as for any path")
    if status in (401, 402, 403, 407) or said.code in KEY_CODES:
        return Found(door, Answers.LOCKED, said=words)
    if status >= 500:
        return Found(door, Answers.UNCLEAR, said=words)
    if said.dialect not in ("", door.speaks):
        return Found(door, Answers.NO, said.dialect, words)
    return Found(door, Answers.YES, said.dialect, words)


async def _knock(settings: Endpoint, key: str, door: Door) -> _Said:
    with trio.move_on_after(settings.open_timeout_s + WORD_S):
        return await (_open(settings, key, door) if door.method == "WS" else _request(settings, key, door))
    return _Said(None, f"no answer within {settings.open_timeout_s + WORD_S:g} s")


async def _request(settings: Endpoint, key: str, door: Door) -> _Said:
    client: httpx.AsyncClient = client_for(settings)
    try:
        body: list[Any] | None = [] if door.method == "POST" else None
        request = request_for(client, settings, key, f"{settings.url}{door.path}", method=door.method, json=body)
        async with open_stream(client, settings, request) as answer:
            kind = answer.content_type
        if door.method == "GET" and not kind.endswith("json"):
            return _Said(404, f"answers with {kind or 'nothing'}")  # a site that has a page for everything
        return _Said(200)
    except ModelError as error:
        failure = error.failure
        return _Said(failure.status, _clean(failure.message, key), failure.code or "", failure=failure)
    finally:
        await client.aclose()


async def _open(settings: Endpoint, key: str, door: Door) -> _Said:
    from kioskd.realtime import dialects

    base = settings.url.replace("http", "ws", 1)
    said: _Said | None = None
    try:
        headers = dialects.headers(settings, key) + ([_BETA] if door.beta else [])
        async with dial(settings, headers, f"{base}{door.path}") as socket:
            word = await _first_word(socket.get_message, WORD_S / 2)
            if not word:
                try:
                    await socket.send_message(NESTED_NONSENSE if door.path == _NESTED else NONSENSE)
                    word = await _first_word(socket.get_message, WORD_S / 2)
                except ConnectionClosed as closed:
                    word = f"closed with {closed.reason.code if closed.reason else 'nothing'}"
            said = _Said(101, _clean(told_by(word), key), _code_of(word), dialect_of(word))
    except DialError as error:
        failure = error.failure
        said = said or _Said(failure.status, _clean(failure.message, key), failure.code or "", failure=failure)
    except ValueError as error:
        said = _Said(None, str(error))
    return said  # an untidy end of the connection says nothing of the door


async def _first_word(receive: Callable[[], Any], within_s: float) -> str:
    with trio.move_on_after(within_s):
        try:
            message = await receive()
        except ConnectionClosed as closed:
            return f"closed with {closed.reason.code if closed.reason else 'nothing'}"
        return message if isinstance(message, str) else message.decode("utf-8", "replace")
    return ""


def dialect_of(word: str) -> str:
    """Which wire a socket's first word is of; empty where it could be any."""
    try:
        event = json.loads(word)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(event, dict):
        return ""
    kind, session = event.get("type"), event.get("session")
    if kind == "session.created" and isinstance(session, dict):
        return "realtime ga" if session.get("type") == "realtime" or "audio" in session else "realtime beta"
    if kind == "error" and ("status" in event or "event_id" not in event):
        return "responses"
    if kind == "error":
        return "realtime"
    return "chat" if {"error", "choices"} & event.keys() else ""


def _code_of(word: str) -> str:
    try:
        error = json.loads(word)["error"]
        return str(error.get("code") or error.get("type") or "")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""


def told_by(word: str) -> str:
    """A socket's first word, for people."""
    try:
        event = json.loads(word)
    except (ValueError, RecursionError):
        return f"upgraded; {word[:60]}" if word else "upgraded, and says nothing"
    kind = event.get("type") if isinstance(event, dict) else None
    error = event.get("error") if isinstance(event, dict) else None
    told = error.get("message") if isinstance(error, dict) else error
    why = f": {told}" if isinstance(told, str) else ""
    return f"upgraded; says {kind or 'an error'}{why}"[:_SAID_MAX]


def _clean(text: str, key: str) -> str:
    return mask_keys(text.replace(key, "***"))
