"""What a session tells its connection: events for the kiosk, and what the connection itself must know."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Bare, Transcript, Usage
from kioskd.value import Value


class IllegalMove(Exception):  # noqa: N818  (the house's name for it)
    """A command that the session's state does not allow; it changed nothing."""


class Phase(Enum):
    """How far the session is."""

    GREETING = "waiting for session.created"
    SETTING_UP = "waiting for session.updated"
    READY = "ready"
    OVER = "over"


class Awaiting(Enum):
    """What the server owes: the connection sets its deadline by it."""

    NOTHING = "nothing"
    FIRST_SOUND = "the first sound of an answer"
    MORE_SOUND = "the rest of an answer"
    END = "the end of an answer that nobody wants"
    TOOLS = "nothing: the answer waits for tools of ours"


class SessionReady(Bare):
    """Our settings hold; questions may be sent."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class SessionError(Value):
    """The server complained. After a `fatal` one the session is over. `code` is its code, else its type.

    `setting_up` tells that it came instead of `session.updated`: the server rejects our settings.
    """

    code: str
    message: str
    fatal: bool
    setting_up: bool = False


@frozen(eq=False, repr=False)
class ChangeRefused(Value):
    """The server goes on, but not by the settings that were changed; `message` is its own."""

    message: str


@frozen(eq=False, repr=False)
class Oddity(Value):
    """Something was received that means nothing and changes nothing; `reason` is one line for the log."""

    reason: str


@frozen(eq=False, repr=False)
class Saying(Value):
    """A piece of the text of a turn's answer, as it is spoken: an interrupted answer never gets a whole one."""

    turn: int
    text: str


@frozen(eq=False, repr=False)
class ToolWanted(Value):
    """A turn's answer goes on when this tool has been called, and its result given to the session (`take_result`).

    `arguments` is what the model wrote, JSON or not.
    """

    turn: int
    call_id: str
    name: str
    arguments: str


SessionEvent = (
    SessionReady
    | SessionError
    | ChangeRefused
    | Oddity
    | Saying
    | ToolWanted
    | AnswerAudio
    | AnswerEnded
    | Transcript
    | Usage
)
