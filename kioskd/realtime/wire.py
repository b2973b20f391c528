"""The server's events, in the one shape both vocabularies come to."""

from __future__ import annotations

from attrs import frozen

from kioskd.dialogue.events import Bare
from kioskd.value import Value


@frozen(eq=False, repr=False)
class SessionCreated(Value):
    """`session.created`: from now on the server listens."""

    session_id: str | None = None


class SessionUpdated(Bare):
    """`session.updated`: our settings hold."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class Committed(Value):
    """`input_audio_buffer.committed`. Some gateways leave `item_id` out."""

    item_id: str | None = None


@frozen(eq=False, repr=False)
class ItemAdded(Value):
    """`conversation.item.added` (GA) or `.created` (beta)."""

    item_id: str | None = None
    role: str | None = None


@frozen(eq=False, repr=False)
class ResponseCreated(Value):
    """`response.created`. `turn` is our own metadata, where the server echoes it."""

    response_id: str | None = None
    turn: str | None = None


@frozen(eq=False, repr=False)
class ResponseProgress(Value):
    """Something of a response that brings no sound: an item, a part, a piece of text."""

    response_id: str | None = None
    item_id: str | None = None


@frozen(eq=False, repr=False)
class AudioDelta(Value):
    """A piece of an answer's sound. `pcm` may have an odd number of bytes."""

    response_id: str | None
    item_id: str | None
    content_index: int
    pcm: bytes


@frozen(eq=False, repr=False)
class _Text(Value):
    response_id: str | None
    item_id: str | None
    text: str


class AnswerText(_Text):
    """A piece of the text of an answer that is being spoken."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class FunctionCall(Value):
    """A whole call of a tool, within an answer. `arguments` is what the model wrote, JSON or not."""

    response_id: str | None
    item_id: str | None
    call_id: str
    name: str
    arguments: str


class AnswerTranscript(_Text):
    """The whole text of one spoken item of an answer."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class QuestionTranscript(Value):
    """The whole text of a visitor's item."""

    item_id: str | None
    text: str


@frozen(eq=False, repr=False)
class Tokens(Value):
    """`response.usage`. `cached_*` are parts of `input_*`."""

    input_text: int = 0
    input_audio: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    output_text: int = 0
    output_audio: int = 0


@frozen(eq=False, repr=False)
class ServerError(Value):
    """An `error` event, or the error inside a failed response. `event_id` is ours, where it is echoed."""

    code: str | None = None
    kind: str | None = None
    message: str = ""
    event_id: str | None = None


@frozen(eq=False, repr=False)
class ResponseDone(Value):
    """`response.done`: completed, cancelled, failed or incomplete (`reason` says by what)."""

    response_id: str | None = None
    status: str | None = None
    reason: str | None = None
    turn: str | None = None
    error: ServerError | None = None
    tokens: Tokens | None = None
    calls: tuple[FunctionCall, ...] = ()


@frozen(eq=False, repr=False)
class Ignored(Value):
    """An event that says nothing to a push-to-talk client, known or not."""

    type: str


@frozen(eq=False, repr=False)
class Malformed(Value):
    """Not an event at all. `reason` never quotes what was received, for it may be what somebody said."""

    reason: str


ServerEvent = (
    SessionCreated
    | SessionUpdated
    | Committed
    | ItemAdded
    | ResponseCreated
    | ResponseProgress
    | AudioDelta
    | AnswerText
    | FunctionCall
    | AnswerTranscript
    | QuestionTranscript
    | ServerError
    | ResponseDone
    | Ignored
    | Malformed
)
