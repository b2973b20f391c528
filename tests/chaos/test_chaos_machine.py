"""The chaos run's invariants over the pure parts alone: any order of visitor, network and server fails nobody.

The dialogue, the sessions, the history and the judgement of failures are the real ones; see the models for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from port_model import PortModel
from server_model import Manners
from world_model import LOST, World

from kioskd.chaos.sabotage import swapped
from kioskd.config.schema import Conversation, CutAnswer, Dialect
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import State
from kioskd.dialogue.kiosk import Kiosk
from kioskd.endpoints.history import History
from kioskd.endpoints.policy import Failure, Kind
from kioskd.realtime.repeats import Repeats
from kioskd.realtime.session import Session

pytestmark = pytest.mark.long

MANNERS = st.builds(
    Manners,
    dialect=st.sampled_from(Dialect),
    names_responses=st.booleans(),
    echoes=st.booleans(),
    acknowledges=st.sampled_from([True, True, True, False]),
    names_questions=st.booleans(),
    transcribes=st.booleans(),
    takes_turns=st.sampled_from([False, False, False, True]),
)
ENDS = {
    "broke off": LOST,
    "restarts": Failure(Kind.LOST, "the endpoint closed the connection (1012)", close_code=1012),
    "too many": Failure(Kind.ERROR, "rate limited; try again in 1s", code="rate_limit_exceeded"),
}
LAST_WORDS = ("session_expired", "invalid_api_key")
RECOVERY_MS = 13_000  # longer than an unwanted answer may take to end, and a setup to be acknowledged
FEW = st.integers(0, 6)


class Machine(RuleBasedStateMachine):
    """A visitor, a network and a server, each free to do the worst at any time."""

    world: World

    @initialize(
        manners=MANNERS,
        cut_answer=st.sampled_from([CutAnswer.CONTINUE, CutAnswer.APOLOGISE]),
        silent_ms=st.sampled_from([0, 30, 400]),
        network=st.sampled_from([True, True, False]),
    )
    def begin(self, manners: Manners, cut_answer: CutAnswer, silent_ms: int, network: bool) -> None:
        conversation = Conversation(
            pre_roll_ms=0,
            post_roll_ms=60,
            min_utterance_ms=100,
            max_utterance_s=2,
            stuck_button_s=5,
            answer_timeout_s=3,
            answer_stall_s=2,
            cut_answer=cut_answer,
            forget_after_s=30,
            history_turns=50,
        )
        self.world = World(conversation, manners, network=network, silent_ms=silent_ms)
        if network:
            self.world.settle(answers=False)

    # The visitor

    @rule()
    def press(self) -> None:
        self.world.post(e.Pressed())

    @rule()
    def release(self) -> None:
        self.world.post(e.Released())

    @rule(ms=st.sampled_from([150, 250]))
    def ask(self, ms: int) -> None:
        self.world.post(e.Released())
        self.world.post(e.Pressed())
        self.world.wait(ms)
        self.world.post(e.Released())
        self.world.wait(70)

    @precondition(lambda self: self.world.kiosk.view.state is State.SPEAKING)
    @rule(arrives=st.booleans())
    def break_in(self, arrives: bool) -> None:
        self.world.post(e.Pressed())
        self.world.wait(self.world.silent_ms + 1)
        if arrives:
            self.world.settle(answers=False)

    @rule(ms=st.sampled_from([10, 40, 90, 200, 700, 2500]))
    def wait(self, ms: int) -> None:
        self.world.wait(ms)

    @rule()
    def leave(self) -> None:
        self.world.post(e.Released())
        self.world.wait(31_000)

    # The wire

    @rule(to_server=FEW, to_kiosk=FEW)
    def some_arrive(self, to_server: int, to_kiosk: int) -> None:
        for connection in self.world.port.connections:
            self.world.deliver(connection, to_server, to_kiosk)

    @rule(answers=st.booleans())
    def all_arrive(self, answers: bool) -> None:
        self.world.settle(answers)

    @precondition(lambda self: self.world.port.blocked or self.world.port.pending)
    @rule()
    def block(self) -> None:
        self.world.port.blocked = not self.world.port.blocked
        self.world.ledger.struck()
        self.world.port.pump()

    # The server

    @property
    def current(self) -> Any:  # a Connection, or None: then the rules that need one don't apply
        return self.world.port.current

    @precondition(lambda self: self.current)
    @rule(pieces=st.integers(0, 4), size=st.sampled_from([481, 1920, 4801]))
    def speak(self, pieces: int, size: int) -> None:
        self.current.server.speak(pieces, size)

    @precondition(lambda self: self.current)
    @rule(pieces=st.integers(1, 3), repeated=st.booleans(), played_ms=st.sampled_from([0, 10, 40]))
    def begin_to_answer(self, pieces: int, repeated: bool, played_ms: int) -> None:
        self.world.settle(answers=False)
        if self.current is not None:
            self.current.server.speak(pieces, 960)
            self.world.settle(answers=False)
        if repeated and self.current is not None and self.current.recent:
            self.repeat(1)
        self.world.wait(played_ms)

    @precondition(lambda self: self.current and self.current.server.active and self.current.server.active.begun)
    @rule(status=st.sampled_from(["failed", "incomplete"]))
    def end_early(self, status: str) -> None:
        if status == "failed" or not self.current.server.active.sent:
            self.world.ledger.struck()
        self.current.server.end(status)

    @precondition(lambda self: self.current and self.current.server.replies)
    @rule()
    def say_late(self) -> None:
        self.current.server.say_late()

    @precondition(lambda self: self.current and self.current.recent)
    @rule(back=st.integers(1, 5))
    def repeat(self, back: int) -> None:
        recent = self.current.recent
        self.current.server.out.appendleft(recent[-min(back, len(recent))])
        self.world.deliver(self.current, 0, 1)

    @precondition(lambda self: self.current and self.current.quiet and self.current.server.active is None)
    @rule()
    def answer_unasked(self) -> None:
        # Its begin arrives before anything else is asked: crossing a create, it can't be told from the answer to that.
        if self.world.port.link is e.Link.UP:
            self.current.server.answer_unasked()
            self.world.troubled()
            self.world.deliver(self.current, 0, 100)

    # The network

    @precondition(lambda self: self.current)
    @rule(how=st.sampled_from([*ENDS, *LAST_WORDS, "no network"]))
    def fail(self, how: str) -> None:
        self.world.ledger.struck()
        self.world.network = how != "no network"
        if how in LAST_WORDS:
            self.current.server.trusted = False
            self.current.server.complain(how)
        else:
            self.world.port.lose(self.current, ENDS.get(how, LOST))

    @precondition(lambda self: not self.world.network or self.world.port.link is e.Link.REFUSED)
    @rule()
    def mend_the_network(self) -> None:
        self.world.network = True
        if self.current is None:
            self.world.port.connect()

    @precondition(lambda self: self.current and self.world.network and self.world.port.idle)
    @rule()
    def renew(self) -> None:
        self.world.port.renew()
        self.world.settle(answers=False)

    def teardown(self) -> None:
        """All is well again: the kiosk becomes ready, and the next press is answered."""
        world = getattr(self, "world", None)
        if world is None or world.ledger.failed:
            return
        world.post(e.Released())
        world.port.blocked = False
        for _ in range(RECOVERY_MS // 500):
            world.settle(answers=True)
            self.mend_the_network()
            world.wait(500)
        assert world.kiosk.view.state is State.READY, "stuck: it isn't ready when all is over"
        self.ask(200)
        for _ in range(10):
            world.settle(answers=True)
            world.wait(200)
        case = world.ledger.cases[-1]
        assert case.answered, f"stuck: turn {case.turn} isn't answered though all is well again"


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=400, stateful_step_count=40, deadline=None, derandomize=True, print_blob=True
)


def asked_and_answered(machine: Machine) -> None:
    machine.ask(200)
    machine.world.settle(answers=True)
    machine.wait(700)


def broken_into(machine: Machine) -> None:
    machine.ask(200)
    machine.begin_to_answer(2, False, 10)
    machine.break_in(True)


def told_twice(machine: Machine) -> None:
    machine.ask(200)
    machine.begin_to_answer(2, True, 0)


def pressed_without_network(machine: Machine) -> None:
    machine.fail("no network")
    machine.ask(200)
    machine.wait(2500)
    machine.wait(700)
    machine.mend_the_network()
    machine.world.settle(answers=True)


def dropped_between_two(machine: Machine) -> None:
    asked_and_answered(machine)
    machine.fail("broke off")
    machine.ask(200)
    machine.wait(700)
    machine.world.settle(answers=True)


def followed_by_another(machine: Machine) -> None:
    asked_and_answered(machine)
    machine.leave()
    machine.world.settle(answers=True)
    machine.ask(200)
    machine.world.settle(answers=True)


def ended_while_another_is_asked(machine: Machine) -> None:
    machine.ask(200)
    machine.begin_to_answer(2, False, 10)
    machine.press()
    machine.wait(200)
    machine.release()
    machine.world.post(e.AnswerEnded(1, e.Ending.FAILED))


def nothing(*_: Any) -> None:
    """In place of a safeguard."""


@pytest.mark.parametrize(
    ("owner", "name", "instead", "story", "found"),
    [
        (Session, "interrupt", nothing, broken_into, "not cancelled|as heard"),
        (Repeats, "is_repeat", lambda *_: False, told_twice, "doubled"),
        (PortModel, "_drop_pending", nothing, pressed_without_network, "stale|stuck"),
        (History, "replay", lambda _: [], dropped_between_two, "lost"),
        (History, "forget", nothing, followed_by_another, "stale"),
        (Kiosk, "_is_current", lambda *_: True, ended_while_another_is_asked, "lost"),
    ],
)
def test_a_safeguard_that_is_off_is_found(
    owner: type, name: str, instead: Callable[..., Any], story: Callable[[Machine], None], found: str
) -> None:
    for off in (False, True):
        machine = Machine()
        machine.begin(Manners(), CutAnswer.CONTINUE, silent_ms=30, network=True)
        if not off:
            story(machine)
            machine.teardown()
            continue
        with swapped(owner, name, instead), pytest.raises(AssertionError, match=found):
            story(machine)
