"""What a run leaves behind, in the order in which it happened. PURE. Times are virtual ms since the run began."""

from __future__ import annotations

from attrs import frozen

from kioskd.chaos.marks import Sound


@frozen
class Pressed:
    """The visitor pressed the button."""

    at: float


@frozen
class Begun:
    """The microphone began to record a turn: the press has opened one."""

    at: float
    turn: int


@frozen
class Recorded:
    """The turn's utterance is whole: so many ms were recorded."""

    at: float
    turn: int
    ms: int


@frozen
class Released:
    """The microphone was told that the visitor has said it."""

    at: float
    turn: int


@frozen
class Signed:
    """The speaker was given a sign."""

    at: float
    sign: str


@frozen
class Spoken:
    """What the speaker really played for a turn, when its playing had ended. `finished`: to its end, not stopped."""

    at: float
    turn: int
    began: float
    sound: Sound
    finished: bool


@frozen
class Viewed:
    """The lamp shows another state."""

    at: float
    state: str
    link: str


@frozen
class Resumed:
    """An answer that broke off goes on, under a number of its own."""

    at: float
    turn: int


@frozen
class Forgotten:
    """The endpoint was told that the visitor has gone."""

    at: float


@frozen
class Opened:
    """A session began at the server."""

    at: float
    session: int


@frozen
class Heard:
    """The server took a committed question, sent at `sent_at`. `known`: the turns that its session knew before."""

    at: float
    sent_at: float
    session: int
    sound: Sound
    known: frozenset[int]


@frozen
class Asked:
    """The server took an order for a response about this turn; its answer has `ms` (of that part)."""

    at: float
    session: int
    turn: int
    part: int
    ms: int


@frozen
class Struck:
    """A fault was performed, in this phase of its connection, while the kiosk was in `state`."""

    at: float
    kind: str
    wire: str
    state: str


Entry = (
    Pressed
    | Begun
    | Recorded
    | Released
    | Signed
    | Spoken
    | Viewed
    | Resumed
    | Forgotten
    | Opened
    | Heard
    | Asked
    | Struck
)
