"""Every fault that can be made, by name: on which level, in which phases of a connection, and what it is.

Sources: REALTIME.md and ENDPOINTS.md; each has been seen at some provider, relay, proxy or network.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from attrs import frozen


class Phase(Enum):
    """How far a connection is, seen from the server."""

    CONNECT = "connect"  # before the upgrade, and at it
    SETUP = "setup"  # upgraded; session.updated has not been sent
    IDLE = "idle"
    LISTENING = "listening"  # appends came, no commit
    ASKED = "asked"  # committed or asked for, no sound yet
    ANSWERING = "answering"  # the first sound was sent, response.done was not


class Level(Enum):
    """Who makes the fault: whoever carries the bytes, answers the upgrade or the request, or sends the messages."""

    NETWORK = "network"
    UPGRADE = "upgrade"
    MESSAGE = "message"
    # of the text doors:
    REQUEST = "request"  # a POST is answered by an error
    ANSWER = "answer"  # the pieces of an answer, on whatever wire
    STREAM = "stream"  # the form of server-sent events
    SOCKET = "socket"  # a Responses connection


@frozen
class Kind:
    """A fault: where it can happen, and what it is in one line."""

    name: str
    level: Level
    phases: frozenset[Phase]
    summary: str


_AT_ONCE = frozenset({Phase.CONNECT})
_EVER = frozenset(Phase)
_OPEN = _EVER - _AT_ONCE
_SETUP = frozenset({Phase.SETUP})
_LIVE = _OPEN - _SETUP
_SPOKEN_TO = frozenset({Phase.LISTENING, Phase.ASKED})
_OWED = frozenset({Phase.ASKED, Phase.ANSWERING})
_TURN = _SPOKEN_TO | _OWED

_NETWORK = (
    ("refuse-connect", _AT_ONCE, "the TCP connection is reset as soon as it is made"),
    ("dns-failure", _AT_ONCE, "the host's name can't be resolved"),
    ("tls-failure", _AT_ONCE, "the ClientHello is answered by what is no TLS"),
    ("rst-mid-frame", _EVER, "the connection is reset in the middle of a frame"),
    ("fin-mid-frame", _EVER, "the connection ends in the middle of a frame"),
    ("black-hole", _EVER, "nothing passes any more, and nobody is told (half-open)"),
    ("stall-5s", _EVER, "nothing passes for 5 s"),
    ("slow-2kbs", _EVER, "2,000 bytes a second from now on"),
    ("jitter-300ms", _EVER, "every piece is up to 300 ms late from now on"),
)
_UPGRADE = (
    ("upgrade-400", _AT_ONCE, "400 Bad Request"),
    ("upgrade-401", _AT_ONCE, "401: the key is wrong"),
    ("upgrade-403", _AT_ONCE, "403: the key may not use this model"),
    ("upgrade-404", _AT_ONCE, "404: no such path or model"),
    ("upgrade-429-header", _AT_ONCE, "429, the wait as seconds in Retry-After"),
    ("upgrade-429-date", _AT_ONCE, "429, the wait as a date in Retry-After"),
    ("upgrade-429-body", _AT_ONCE, "429, the wait as reset_seconds in the body"),
    ("upgrade-429-text", _AT_ONCE, "429, the wait only in the text, the code an integer"),
    ("upgrade-429-bare", _AT_ONCE, "429 without a word"),
    ("upgrade-500", _AT_ONCE, "500 with a JSON error"),
    ("upgrade-502", _AT_ONCE, "502, a proxy's page in HTML"),
    ("upgrade-503", _AT_ONCE, "503 with a text"),
    ("second-connection-refused", _AT_ONCE, "429 or 403, in turn, while another connection is open"),
    ("upgrade-then-silence", _AT_ONCE, "the upgrade is accepted, then nothing comes, ever"),
)
_MESSAGE = (
    ("error-close-3000", _SETUP, "error invalid_api_key, then close 3000"),
    ("error-close-4000", _SETUP, "error missing_model, then close 4000"),
    ("session-expired", _LIVE, "error session_expired, then close 1001"),
    ("close-1001", _OPEN, "close 1001 (going away) without a word"),
    ("close-1008", _OPEN, "close 1008 (policy violation) without a word"),
    ("close-1009", _OPEN, "close 1009 (message too big) without a word"),
    ("close-1011", _OPEN, "close 1011 (internal error) without a word"),
    ("close-1012", _OPEN, "close 1012 (service restart) without a word"),
    ("frame-20mb", _OPEN, "a message of 20 MiB, which is more than a client should take"),
    ("garbage-json", _OPEN, "a text frame that is no JSON, then all goes on"),
    ("binary-frame", _OPEN, "a binary frame, then all goes on"),
    ("bad-base64", _OWED, "a delta whose sound is no base64, before the true one"),
    ("odd-bytes", _OWED, "a delta comes in three, the first and the last a single byte: valid"),
    ("unknown-event", _OPEN, "an event of a type that nobody knows"),
    ("duplicate-event", _OPEN, "the next event comes twice, with the same event_id"),
    ("late-rate-limits", _OWED | {Phase.IDLE}, "rate_limits.updated comes only after the next turn's first event"),
    ("no-response-created", _SPOKEN_TO, "response.created is left out: the first delta opens the answer"),
    ("no-response-done", _TURN, "response.done is left out"),
    ("failed-rate-limit", _OWED, "the answer ends here: response.done, failed, rate_limit_exceeded"),
    ("failed-server-error", _OWED, "the answer ends here: response.done, failed, server_error"),
    ("incomplete-max-tokens", _OWED, "the answer ends here: response.done, incomplete, max_output_tokens"),
    ("incomplete-content-filter", _OWED, "the answer ends here: response.done, incomplete, content_filter"),
    ("text-only-answer", _SPOKEN_TO, "the answer comes as text, without sound"),
    ("answers-by-itself", frozenset({Phase.IDLE, Phase.LISTENING}), "an answer that nobody asked for"),
    ("update-rejected", _SETUP, "an error instead of session.updated: the update is not taken"),
    ("update-unacknowledged", _SETUP, "the update is taken, session.updated never comes"),
    ("silent-upstream", _TURN, "not one message more; the connection stays open"),
    ("null-code-error", _OPEN, "a benign error whose code is null, with the identifier in its type"),
    ("slow-cancel", _OWED, "response.cancel takes 1 s to be heard: deltas still come"),
    ("second-response-done", _TURN, "response.done comes twice"),
    ("item-id-missing", _SPOKEN_TO, "input_audio_buffer.committed comes without its item_id"),
)
_TEXT_UPGRADE = (("upgrade-blocked", _AT_ONCE, "403, a firewall's page: no WebSocket gets through, requests do"),)
_REQUEST = (
    ("request-400", _AT_ONCE, "400 Bad Request"),
    ("request-401", _AT_ONCE, "401: the key is wrong"),
    ("request-403", _AT_ONCE, "403: the key may not use this model"),
    ("request-404", _AT_ONCE, "404: no such path or model"),
    ("request-429-header", _AT_ONCE, "429, the wait as seconds in Retry-After"),
    ("request-429-date", _AT_ONCE, "429, the wait as a date in Retry-After"),
    ("request-429-body", _AT_ONCE, "429, the wait as reset_seconds in the body"),
    ("request-429-text", _AT_ONCE, "429, the wait only in the text, the code an integer"),
    ("request-429-bare", _AT_ONCE, "429 without a word"),
    ("request-500", _AT_ONCE, "500 with a JSON error"),
    ("request-502", _AT_ONCE, "502, a proxy's page in HTML"),
    ("request-503", _AT_ONCE, "503 with a text"),
)
_ANSWER = (
    ("answer-error", _OWED, "an error object (Responses: response.failed) in place of the rest"),
    ("answer-error-flat", _OWED, "an error whose code and message aren't nested, in place of the rest"),
    ("answer-rate-limit", _OWED, "an error object rate_limit_exceeded, the wait in its text, in place of the rest"),
    ("answer-429-integer", _OWED, "the same, its code the integer 429"),
    (
        "cut-with-done",
        _OWED,
        "the answer ends before its finish_reason, by [DONE] (Responses: close 1000)",
    ),
    ("cut-without-done", _OWED, "the answer ends before its finish_reason, without a word (a socket: close 1000)"),
    ("finish-length", _OWED, "the answer ends here: length (Responses: incomplete, max_output_tokens)"),
    ("finish-filter", _OWED, "the answer ends here: content_filter"),
    ("answer-disconnect", _OWED, "the connection ends in the middle of the answer (a socket: close 1011)"),
    ("answer-stall", _OWED, "not one piece more; the connection stays open"),
    ("answer-slow", _OWED, "a second between the pieces from now on"),
    ("unknown-frame", _OWED, "an object that nobody knows, before the next piece"),
    ("garbage-frame", _OWED, "a piece that is no JSON, before the next one"),
)
_ASKED = frozenset({Phase.ASKED})
_STREAM = (
    ("sse-buffered", _ASKED, "nothing comes until 3 s after the end, then all at once: a proxy that buffers"),
    ("sse-no-space", _ASKED, "no space behind data:"),
    ("sse-comments", _ASKED, "comment lines between the events"),
    ("sse-split-lines", _ASKED, "packets of seven bytes: they end inside lines and inside letters"),
    ("sse-crlf", _ASKED, "lines end in CR LF"),
    ("sse-wrong-type", _ASKED, "the stream comes as text/html"),
)
_SOCKET = (
    ("previous-response-not-found", _ASKED, "the server has forgotten the response before"),
    ("connection-limit-reached", _ASKED, "error websocket_connection_limit_reached (60 minutes), then close 1000"),
    ("idle-close", frozenset({Phase.IDLE}), "close 1000 after an answer: 15 minutes without a request"),
)


def _kinds(level: Level, rows: Iterable[tuple[str, frozenset[Phase], str]]) -> dict[str, Kind]:
    return {name: Kind(name, level, phases, summary) for name, phases, summary in rows}


KINDS: dict[str, Kind] = {  # of the network, of upgrades, and of the Realtime door
    **_kinds(Level.NETWORK, _NETWORK),
    **_kinds(Level.UPGRADE, _UPGRADE),
    **_kinds(Level.MESSAGE, _MESSAGE),
}
TEXT_KINDS: dict[str, Kind] = {  # of the text doors
    **_kinds(Level.UPGRADE, _TEXT_UPGRADE),
    **_kinds(Level.REQUEST, _REQUEST),
    **_kinds(Level.ANSWER, _ANSWER),
    **_kinds(Level.STREAM, _STREAM),
    **_kinds(Level.SOCKET, _SOCKET),
}
ALL_KINDS = KINDS | TEXT_KINDS
