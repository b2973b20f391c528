"""What surrounds the dialogue: the daemon's way of taking events, a microphone, a speaker, a network. One clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import floor

from attrs import define, field
from ledger_model import Ledger
from port_model import Clock, Connection, PortModel
from server_model import Manners, ModelServer

from kioskd.chaos import marks
from kioskd.config.schema import Conversation, Endpoint
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.kiosk import Kiosk
from kioskd.endpoints.policy import Failure, Kind

STEP_MS = 100  # sound is recorded and sent in such pieces
SIGN_MS = 400
LOST = Failure(Kind.LOST, "the connection broke off", close_code=1006)


@define(eq=False)
class UtteranceModel:
    """See `port.Utterance`."""

    turn: int
    begins_at: int  # ms; the kiosk's own sound may have to die away first
    recorded: bytes = b""
    ended: bool = False
    ends_at: int | None = None
    on_growth: Callable[[], None] = lambda: None

    @property
    def size(self) -> int:
        return len(self.recorded)

    def since(self, cursor: int) -> bytes:
        return self.recorded[cursor:]

    def subscribe(self, on_growth: Callable[[], None]) -> None:
        self.on_growth = on_growth

    def record(self, ms: int) -> None:
        """The latest so many ms."""
        self.recorded += marks.marked(self.turn, marks.QUESTION, self.size // marks.BYTES_PER_MS, ms)
        self.on_growth()


@define(eq=False)
class SpeakerModel:
    """Plays what it is given, one turn after another, in real time."""

    turn: int | None = None
    rest: bytes = b""
    heard: int = 0  # bytes
    finishing: bool = False
    stopping: deque[tuple[int, int, int]] = field(factory=deque)  # when it tells, turn, ms heard

    def play(self, turn: int, pcm: bytes) -> None:
        if turn != self.turn:
            self.turn, self.rest, self.heard, self.finishing = turn, b"", 0, False
        self.rest += pcm

    def stop(self, turn: int, tells_at: int) -> None:
        heard = self.heard // marks.BYTES_PER_MS if turn == self.turn else 0
        self.stopping.append((tells_at, turn, heard))
        self.turn, self.rest, self.finishing = None, b"", False


@define(eq=False)
class World:
    """`wait` is the only thing that takes time."""

    conversation: Conversation
    manners: Manners
    network: bool = True
    silent_ms: int = 30  # until the speaker tells what was heard
    clock: Clock = field(factory=Clock)
    sessions: int = 0
    utterance: UtteranceModel | None = None
    down: bool = False
    signs: deque[int] = field(factory=deque)  # when their sound ends
    _waiting: deque[e.Event] = field(factory=deque)
    _performing: bool = False
    kiosk: Kiosk = field(init=False)
    ledger: Ledger = field(init=False)
    port: PortModel = field(init=False)
    speaker: SpeakerModel = field(factory=SpeakerModel)

    def __attrs_post_init__(self) -> None:
        self.kiosk = Kiosk(self.conversation)
        self.ledger = Ledger(self.conversation, self.clock)
        settings = Endpoint("model", "wss://voice.example/v1/realtime", "m", dialect=self.manners.dialect)
        self.port = PortModel(settings, self.conversation, self.clock, self.post, self._open_server, self._ready)
        self.post(e.Started())
        self.port.tick()

    def _open_server(self) -> ModelServer | None:
        if not self.network:
            return None
        self.sessions += 1
        server = ModelServer(self.sessions, self.manners, self.ledger.next_part, self.ledger.was_heard)
        server.say("session.created", session={"id": f"sess_{self.sessions}"})
        return server

    def _ready(self, connection: Connection) -> None:
        self.ledger.ready_ms[connection.server.session] = self.clock.ms

    # The daemon

    def post(self, event: e.Event) -> None:
        """Take an event; what its effects report at once is taken after it."""
        self._waiting.append(event)
        if self._performing:
            return
        self._performing = True
        while self._waiting:
            self.clock.moment += 1
            for effect in self.kiosk.step(self._waiting.popleft(), self.clock.s):
                self._perform(effect)
            self._judge()
        self._performing = False

    def _judge(self) -> None:
        case, server = self.ledger.case, self.port.current.server if self.port.current else None
        turns = {turn for turn, one in self.ledger.by_turn.items() if one is case}
        self.ledger.shown(self.kiosk.view.state, shortened=bool(server and turns & server.shortened))

    def _perform(self, effect: f.Effect) -> None:
        port, ledger = self.port, self.ledger
        match effect:
            case f.BeginUtterance(turn, pre_roll_ms):
                ledger.begun(turn)
                if self.untrustworthy:
                    ledger.struck()
                self.utterance = UtteranceModel(turn, self.clock.ms - min(0, pre_roll_ms))
                port.begin(self.utterance)
            case f.EndUtterance(turn, post_roll_ms):
                ledger.released(turn)
                assert self.utterance is not None
                self.utterance.ends_at = self.clock.ms + post_roll_ms
            case f.DiscardUtterance(turn):
                self.utterance = None
                port.drop_turn(turn)
            case f.Ask(turn):
                ledger.asked(turn)
                port.ask(turn)
            case f.ContinueAnswer(turn):
                ledger.resumed(turn)
                port.continue_answer(turn)
            case f.CancelAnswer(turn):
                ledger.broke_off(port.current, turn, 0)
                port.drop_turn(turn)
            case f.Interrupt(turn, heard_ms):
                ledger.broke_off(port.current, turn, heard_ms)
                port.interrupt(turn, heard_ms)
            case f.ForgetVisitor():
                ledger.forgot()
                self.utterance = None
                port.forget()
            case f.Play(turn, pcm):
                ledger.queued(turn, pcm)
                self.speaker.play(turn, pcm)
            case f.FinishSpeaking(turn):
                self.speaker.play(turn, b"")
                self.speaker.finishing = True
            case f.StopSpeaking(turn):
                self.speaker.stop(turn, self.clock.ms + self.silent_ms)
            case f.GiveSign(sign):
                ledger.signed(sign)
                self.signs.append(self.clock.ms + SIGN_MS)
            case f.CutSign():
                self.signs = deque(self.clock.ms for _ in self.signs)

    @property
    def untrustworthy(self) -> bool:
        """Whether this session, or the lack of one, may cost a turn its answer."""
        server = self.port.current.server if self.port.current else None
        return self.port.link is not e.Link.UP or server is None or not server.trusted

    def troubled(self) -> None:
        """Called when a server may just have done something of its own accord."""
        if self.untrustworthy:
            self.ledger.struck()

    # Time

    def _due(self) -> int:
        """When the next thing happens by itself."""
        due = [*self.port.timers, *self.signs, *(at for at, _, _ in self.speaker.stopping)]
        if self.kiosk.deadline is not None:
            due.append(floor(self.kiosk.deadline * 1000) + 1)  # safely after it, whatever the rounding
        if self.speaker.finishing:
            due.append(self.clock.ms + -(-len(self.speaker.rest) // marks.BYTES_PER_MS))
        if self.utterance is not None and not self.utterance.ended:
            due.append(self.clock.ms + STEP_MS)
            if self.utterance.ends_at is not None:
                due.append(self.utterance.ends_at)
        return max(self.clock.ms, min(due, default=self.clock.ms + 1_000_000))

    def wait(self, ms: int) -> None:
        """Time passes, and what is due happens."""
        until, rounds = self.clock.ms + ms, 0
        while self.clock.ms < until:
            due = min(self._due(), until)
            rounds = rounds + 1 if due == self.clock.ms else 0
            self.ledger.hold(rounds < 20, "stuck: something is due again and again")
            self._pass(due - self.clock.ms)
            self.port.tick()
            self._tell()
            self.ledger.not_stuck()

    def _pass(self, ms: int) -> None:
        self.clock.ms += ms
        if ms and self.utterance is not None and not self.utterance.ended:
            self.utterance.record(min(ms, max(0, self.clock.ms - self.utterance.begins_at)))
        speaker, size = self.speaker, ms * marks.BYTES_PER_MS
        if speaker.turn is not None and speaker.rest and size:
            piece, speaker.rest = speaker.rest[:size], speaker.rest[size:]
            speaker.heard += len(piece)
            self.ledger.played(speaker.turn, piece)

    def _tell(self) -> None:
        """The events of microphone, speaker and timer."""
        now, speaker, utterance = self.clock.ms, self.speaker, self.utterance
        if utterance is not None and not utterance.ended and utterance.ends_at is not None and now >= utterance.ends_at:
            utterance.ended = True
            self.post(e.UtteranceEnded(utterance.turn, utterance.size // marks.BYTES_PER_MS))
        if speaker.turn is not None and speaker.finishing and not speaker.rest:
            turn, speaker.turn, speaker.finishing = speaker.turn, None, False
            self.post(e.SpeakingFinished(turn, speaker.heard // marks.BYTES_PER_MS))
        while speaker.stopping and now >= speaker.stopping[0][0]:
            _, turn, heard_ms = speaker.stopping.popleft()
            self.post(e.SpeakingStopped(turn, heard_ms))
        while self.signs and now >= self.signs[0]:
            self.signs.popleft()
            self.post(e.SignFinished())
        if self.kiosk.deadline is not None and now >= self.kiosk.deadline * 1000:
            self.post(e.Tick())

    # The wire

    def deliver(self, connection: Connection, to_server: int, to_kiosk: int) -> None:
        """So many texts arrive, of what was sent until now."""
        for _ in range(min(to_server, len(connection.to_server))):
            connection.server.take(*connection.to_server.popleft())
        self.troubled()
        for _ in range(min(to_kiosk, len(connection.server.out))):
            if connection in self.port.connections:
                self.port.hear(connection, connection.server.out.popleft())
        if connection in self.port.connections and connection.quiet:
            self.ledger.all_told(connection)

    def settle(self, answers: bool) -> None:
        """All that is sent arrives, and what it brings about; the answers come too, or wait."""
        for _ in range(50):
            for connection in self.port.connections:
                if answers:
                    connection.server.speak(100, STEP_MS * marks.BYTES_PER_MS)
                self.deliver(connection, 1000, 1000)
            if all(one.quiet and not (answers and one.server.active) for one in self.port.connections):
                break
        else:
            self.ledger.hold(False, "stuck: the two ends never stop talking")
