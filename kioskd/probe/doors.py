"""The doors that a host can have, as far as kioskd can speak through them, and what one says. PURE."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

_MODELS = {"realtime": "gpt-realtime", "beta": "gpt-4o-realtime-preview"}


class Answers(Enum):
    """What a door said."""

    YES = "yes"
    LOCKED = "locked"  # it is there, but not for this key
    NO = "no"
    UNCLEAR = "can't tell"


@frozen
class Door:
    """One path, and what it is for. `method`: GET, POST, or WS for a WebSocket, which then `speaks` a dialect."""

    method: str
    path: str
    what: str
    speaks: str = ""
    beta: bool = False
    unverified: bool = False


DOORS = (
    Door("GET", "/v1/auth/verify", "key check with credits"),
    Door("GET", "/v1/models", "list of models"),
    Door("WS", f"/v1/realtime?model={_MODELS['realtime']}", "realtime ga", speaks="realtime ga"),
    Door("WS", f"/v1/realtime?model={_MODELS['beta']}", "realtime beta", speaks="realtime beta", beta=True),
    Door("WS", "/v1/realtime", "responses nested", speaks="responses", beta=True),
    Door("WS", "/v1/responses", "responses top-level", speaks="responses"),
    Door("WS", "/v1/ws", "chat socket", speaks="chat", unverified=True),
    Door("WS", "/v1/ws/stream?model=gpt-4.1&stream=true", "chat socket", speaks="chat"),
    Door("WS", "/v1/stream", "chat socket, key in the address", speaks="chat"),
    Door("POST", "/v1/chat/completions", "chat: sse, plain, sound"),
    Door("POST", "/v1/audio/transcriptions", "hearing"),
    Door("POST", "/v1/audio/speech", "speech"),
    Door("POST", "/v1/realtime/client_secrets", "minted sessions ga"),
    Door("POST", "/v1/realtime/sessions", "minted sessions beta"),
)


@frozen
class Found:
    """What came of one door. `dialect`: what it turned out to speak; `said`: why not, or how."""

    door: Door
    answers: Answers
    dialect: str = ""
    said: str = ""
