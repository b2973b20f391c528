"""Who was failed? The columns are those of `kioskd.chaos.ledger`; here each fails where it happens."""

from __future__ import annotations

from attrs import define, field
from port_model import Clock, Connection
from server_model import Heard, answer_ms

from kioskd.chaos import marks
from kioskd.config.schema import Conversation
from kioskd.dialogue.effects import Sign, State
from kioskd.dialogue.turn import PLAY_OUT_MARGIN_S, RESUMED_AT_MOST

ENDINGS = (Sign.SORRY, Sign.OUT_OF_ORDER, Sign.TOO_SHORT)  # the others tell something else
MARGIN_MS = 50  # timers fire within a millisecond or two; a stopped speaker tells a little later


@define(eq=False)
class Case:
    """A press, and what followed."""

    turn: int
    visitor: int
    pressed_ms: int
    waits_since_ms: int = 0  # since it was released, or since its answer was cut
    troubled: bool = False  # something went wrong, which may cost it its answer
    asked: bool = False
    over: int | None = None  # the moment
    over_ms: int = 0
    answered: bool = False
    last_sound_ms: int = 0
    queued: dict[int, bytes] = field(factory=dict)  # by the dialogue's turn: the first, and those that resume it
    played: dict[int, bytes] = field(factory=dict)

    @property
    def played_ms(self) -> int:
        return sum(map(len, self.played.values())) // marks.BYTES_PER_MS


@define(eq=False)
class Ledger:
    """Is told what happens, and asserts that nobody is failed by it."""

    settings: Conversation
    clock: Clock
    cases: list[Case] = field(factory=list)
    by_turn: dict[int, Case] = field(factory=dict)
    failed: bool = False  # somebody: what follows tells no more
    visitor: int = 0
    trouble: bool = True  # since the last case was over; the link is down at first
    heard: set[tuple[int, int]] = field(factory=set)
    broken_off: list[tuple[Connection | None, int, int]] = field(factory=list)  # where, turn, ms heard of it
    ready_ms: dict[int, int] = field(factory=dict)  # session -> when it took the history

    @property
    def case(self) -> Case | None:
        """The one that is under way."""
        return self.cases[-1] if self.cases and self.cases[-1].over is None else None

    def next_part(self, turn: int) -> int:
        """Of the answer to a turn: the first that has not sounded."""
        case = self.by_turn.get(turn)
        return 0 if case is None else len(case.queued)

    def hold(self, promise: bool, otherwise: str) -> None:
        if not promise:
            self.failed = True
            raise AssertionError(otherwise)

    # What happens

    def struck(self) -> None:
        """Something has gone wrong."""
        self.trouble = True
        if self.case is not None:
            self.case.troubled = True

    def begun(self, turn: int) -> None:
        self._end()
        self.cases.append(Case(turn, self.visitor, self.clock.ms, troubled=self.trouble))
        self.by_turn[turn] = self.cases[-1]

    def released(self, turn: int) -> None:
        self.by_turn[turn].waits_since_ms = self.clock.ms

    def asked(self, turn: int) -> None:
        self.by_turn[turn].asked = True

    def resumed(self, turn: int) -> None:
        case = self.case
        assert case is not None, "stale: an answer goes on that nobody waits for"
        self.hold(case.troubled or self._is_stalled(case), "lost: its answer was cut though nothing had gone wrong")
        case.troubled = True
        case.waits_since_ms = self.clock.ms
        self.by_turn[turn] = case

    def signed(self, sign: Sign) -> None:
        case = self.case
        if case is None or sign not in ENDINGS:
            return
        if sign is not Sign.TOO_SHORT:
            waited_ms = self.clock.ms - case.waits_since_ms
            late = case.asked and waited_ms >= self.settings.answer_timeout_s * 1000
            self.hold(
                case.troubled or late or self._is_stalled(case),
                f"lost: turn {case.turn}: {sign.value} though nothing had gone wrong",
            )
        self._end()

    def shown(self, state: State, shortened: bool) -> None:
        """The kiosk has taken an event; `shortened`: the server ended this answer by a limit of its own."""
        case = self.case
        if case is not None and state is State.READY:
            self.hold(shortened or self._is_whole(case), f"lost: turn {case.turn} got no whole answer, and no apology")
            case.answered = True
            self._end()

    def queued(self, turn: int, pcm: bytes) -> None:
        """A piece of an answer goes to the speaker."""
        case = self._of_sound(turn)
        case.last_sound_ms = self.clock.ms
        sound = case.queued[turn] = case.queued.get(turn, b"") + pcm
        stretches = marks.read(sound)
        if not stretches:
            return
        self.hold(stretches[0].turn == case.turn, f"stale: the answer to turn {stretches[0].turn} goes out as {turn}'s")
        self.hold(len(stretches) == 1 and stretches[0].first == 0, f"doubled: turn {turn}: {stretches}")
        parts = [marks.read(one)[0].part for one in case.queued.values() if len(one) >= marks.BYTES_PER_MS]
        self.hold(len(set(parts)) == len(parts), f"doubled: of turn {turn} the parts {parts} are played")

    def played(self, turn: int, pcm: bytes) -> None:
        """A piece of an answer was heard."""
        case = self._of_sound(turn)
        case.played[turn] = case.played.get(turn, b"") + pcm

    def broke_off(self, connection: Connection | None, turn: int, heard_ms: int) -> None:
        """The endpoint was told that no more than this of an answer was heard."""
        self.broken_off.append((connection, turn, heard_ms))

    def forgot(self) -> None:
        self.visitor += 1

    def was_heard(self, heard: Heard) -> bool:
        """The server takes a question -> whether it is still wanted."""
        sound = marks.read(heard.sound)
        turn, session = sound[0].turn, heard.session
        case = self.by_turn[turn]
        self.hold(len(sound) == 1 and sound[0].first == 0, f"lost: the question arrives in pieces: {sound}")
        self.hold((session, turn) not in self.heard, f"doubled: turn {turn} is asked twice in session {session}")
        again = any(one == turn for _, one in self.heard)
        self.hold(case.troubled or not again, f"doubled: turn {turn} is asked again though nothing had gone wrong")
        self.heard.add((session, turn))
        self.hold(case.over is None or heard.sent <= case.over, f"stale: turn {turn} is asked after its end")
        for known in heard.known:
            self.hold(self.by_turn[known].visitor == case.visitor, f"stale: session {session} knows a former visitor")
        ready_ms = self.ready_ms[session]
        before = {
            one.turn
            for one in self.cases
            if one.answered and one.visitor == case.visitor and one.played_ms and one.over_ms < ready_ms
        }
        self.hold(before <= heard.known, f"lost: session {session} knows nothing of turns {before - heard.known}")
        return case.over is None

    # What must hold

    def all_told(self, connection: Connection) -> None:
        """Nothing is on its way: the server knows of no answer more than was heard, and speaks none in vain."""
        server = connection.server
        for where, turn, heard_ms in self.broken_off:
            if where is not connection:
                continue
            replies = [reply for reply in server.replies if reply.asked_as == turn and reply.begun]
            for reply in replies:
                self.hold(reply.over or reply.cancelled, f"the broken off answer to turn {turn} is not cancelled")
            known = sum(server.items[reply.item_id].known_ms for reply in replies if reply.over)
            self.hold(known <= heard_ms, f"the server takes {known} ms of turn {turn} as heard, not {heard_ms}")

    def not_stuck(self) -> None:
        """Each press ends in time."""
        case = self.case
        if case is not None:
            waits_s = self.settings.answer_timeout_s + self.settings.answer_stall_s + PLAY_OUT_MARGIN_S
            limit_ms = 1000 * (self.settings.max_utterance_s + waits_s * (RESUMED_AT_MOST + 1)) + case.played_ms
            self.hold(self.clock.ms - case.pressed_ms <= limit_ms + MARGIN_MS, f"stuck: turn {case.turn}")

    def _is_stalled(self, case: Case) -> bool:
        return bool(case.queued) and self.clock.ms - case.last_sound_ms >= self.settings.answer_stall_s * 1000

    def _of_sound(self, turn: int) -> Case:
        case = self.by_turn[turn]
        self.hold(case is self.case, f"stale: turn {turn} is played after its end")
        return case

    def _is_whole(self, case: Case) -> bool:
        stretches = [marks.read(sound) for sound in case.played.values()]
        if not stretches or not stretches[-1]:
            return False
        last = stretches[-1][0]
        return last.ms == answer_ms(last.turn, last.part)

    def _end(self) -> None:
        case = self.case
        if case is not None:
            case.over, case.over_ms = self.clock.moment, self.clock.ms
            self.trouble = False
