"""What each kind of endpoint needs, and which settings mean nothing to it."""

from __future__ import annotations

from collections.abc import Iterator

from kioskd.config import addresses
from kioskd.config.files import UnreadableFileError, read_small_file
from kioskd.config.places import named_file
from kioskd.config.schema import By, Dialect, Endpoint, EndpointKind, Envelope, Hearing, Speech, Transport

MAX_FAQ_BYTES = 256 * 1024  # as the FAQ's own reader has it
AROUND_TEXT = (EndpointKind.RESPONSES, EndpointKind.CHAT)  # hearing and speech stand around these
_BETA_TEMPERATURES = (0.6, 1.2)

Finding = tuple[str, str]  # the key below the endpoint, the message


def check(endpoint: Endpoint, *, files: bool = True) -> Iterator[Finding]:
    """Every contradiction between an endpoint's kind and its other settings; `files`: also with the files they name."""
    yield from _needed(endpoint)
    yield from _of_no_use(endpoint)
    yield from _temperature(endpoint)
    if endpoint.kind in AROUND_TEXT:
        yield from _around_text(endpoint, files=files)
    faq = endpoint.faq if files and endpoint.kind is EndpointKind.LOCAL else None
    if faq is not None and (fault := fault_of_faq(faq)):
        yield "faq", f"{faq} {fault}"


def fault_of_faq(name: str) -> str:
    """Why this can't be the path of an FAQ file; empty where it can."""
    path = named_file(name)
    if path is None:
        return "must be the whole path of a file, beginning with /, or the name of one that comes with kioskd"
    try:
        read_small_file(path, MAX_FAQ_BYTES)
    except UnreadableFileError as error:
        return str(error)
    return ""


def _needed(endpoint: Endpoint) -> Iterator[Finding]:
    if endpoint.kind is EndpointKind.LOCAL and endpoint.faq is None:
        yield "faq", "is missing; an endpoint of the kind local answers from an FAQ file: give its whole path"


def _of_no_use(endpoint: Endpoint) -> Iterator[Finding]:
    kind = endpoint.kind
    is_local, is_text = kind is EndpointKind.LOCAL, kind in AROUND_TEXT
    idle = {
        "url": bool(endpoint.url) and is_local,
        "model": bool(endpoint.model) and is_local,
        "mint": endpoint.mint is not None and kind is not EndpointKind.REALTIME,
        "transport": endpoint.transport is not Transport.SSE and kind is not EndpointKind.CHAT,
        "envelope": endpoint.envelope is not Envelope.TOP_LEVEL and kind is not EndpointKind.RESPONSES,
        "server_keeps": not endpoint.server_keeps and kind is not EndpointKind.RESPONSES,
        "hearing": endpoint.hearing != Hearing() and not is_text,
        "speech": endpoint.speech != Speech() and not is_text,
        "faq": endpoint.faq is not None and not is_local,
        "keep_place": endpoint.keep_place and not is_local,
    }
    for key, is_idle in idle.items():
        if is_idle:
            yield key, f"means nothing to an endpoint of the kind {kind.value}; remove it, or set another kind"


def _temperature(endpoint: Endpoint) -> Iterator[Finding]:
    if endpoint.temperature is None or endpoint.kind is not EndpointKind.REALTIME:
        return
    if endpoint.dialect is not Dialect.BETA:
        yield "temperature", "exists only in the dialect beta; remove it, or set dialect: beta"
    elif not _BETA_TEMPERATURES[0] <= endpoint.temperature <= _BETA_TEMPERATURES[1]:
        low, high = _BETA_TEMPERATURES
        yield "temperature", f"must be from {low:g} to {high:g} in the dialect beta, not {endpoint.temperature:g}"


def _around_text(endpoint: Endpoint, *, files: bool) -> Iterator[Finding]:
    hearing, speech = endpoint.hearing, endpoint.speech
    for key, helper in (("hearing", hearing), ("speech", speech)):
        if helper.url is None:
            continue
        if helper.by is By.LOCAL:
            yield f"{key}.url", f"means nothing where {key}.by is local; remove it, or set {key}.by: endpoint"
            continue
        yield from addresses.check_helper(endpoint, f"{key}.url", helper.url)
        host = addresses.host_of(helper.url)
        if helper.key is None and host and host != addresses.host_of(endpoint.url):
            yield f"{key}.url", f"is another host, to which this endpoint's key would go; give it its own by {key}.key"
    if hearing.by is By.LOCAL:
        if hearing.grammar is None:
            yield "hearing.grammar", "is missing; heard on this machine are the questions of an FAQ file: give its path"
        elif files and (fault := fault_of_faq(hearing.grammar)):
            yield "hearing.grammar", f"{hearing.grammar} {fault}"
    elif hearing.grammar is not None:
        yield "hearing.grammar", "counts only where hearing.by is local; remove it, or set hearing.by: local"
