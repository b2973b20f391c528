"""What every endpoint does at its port: one suite, for all the ways to be one."""

import hashlib

import pytest
import trio
from attrs import define, field
from fake_answerer import FakeAnswerer, Recorded
from fake_peer import Reports
from honest_peer import HonestPeer

from kioskd.audio.utterance import Utterance
from kioskd.config.schema import Breaker as BreakerSettings
from kioskd.config.schema import Conversation, Dialect, Endpoint, EndpointKind
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged
from kioskd.endpoints.breaker import Breaker
from kioskd.endpoints.failover import Failover, Member
from kioskd.endpoints.memory import MemoryEndpoint
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.endpoints.turnwise import TurnwiseEndpoint

MS = 48
LIMIT = 60_000 * MS
LONG_S = 30.0  # longer than any answer, and than any back-off
PLAYED_FASTER = 5  # an answer of 1 s arrives within 0.2 s


def answer_to(question):
    """One second, another one for each question."""
    return hashlib.sha256(question).digest() * (1000 * MS // 32)


def sound(seed, ms=400):
    """So many ms of some question."""
    return hashlib.sha256(str(seed).encode()).digest() * (ms * MS // 32)


def recorded(turn, pcm):
    """An utterance that is whole."""
    utterance = Utterance(turn, LIMIT)
    utterance.append(pcm)
    utterance.end()
    return utterance


@define(eq=False)
class InMemory:
    """The endpoint in memory, seen from the other side."""

    endpoint: MemoryEndpoint = field(factory=lambda: MemoryEndpoint(answer_to, speed=PLAYED_FASTER))

    @property
    def conversations(self):
        return [questions for questions in self.endpoint.conversations if questions]

    @property
    def believed_heard_ms(self):
        return self.endpoint.interrupts[-1][1]

    async def go_down(self):
        self.endpoint.go_down()

    async def come_up(self):
        self.endpoint.come_up()

    def check(self):
        pass


@define(eq=False)
class OverTheWire:
    """The Realtime endpoint, seen from its peer."""

    dialect: Dialect
    peer: HonestPeer = field(init=False)
    endpoint: RealtimeEndpoint = field(init=False)

    def __attrs_post_init__(self):
        settings = Endpoint("relay", "ws://127.0.0.1/v1/realtime", "gpt-realtime", dialect=self.dialect)
        self.peer = HonestPeer(self.dialect, answer_to, pace_s=0.1 / PLAYED_FASTER)
        self.endpoint = RealtimeEndpoint(
            settings, Conversation(), lambda: "sk-0123456789abcdef", dial=self.peer.dial, jitter=lambda: 0.5
        )

    @property
    def conversations(self):
        return [conversation.asked for conversation in self.peer.conversations if conversation.asked]

    @property
    def believed_heard_ms(self):
        talk = self.peer.conversations[-1]
        told = [item.known_ms for item in talk.items.values() if item.known_ms]
        return 0 if talk.deleted else told[-1]

    async def go_down(self):
        await self.peer.go_down()

    async def come_up(self):
        self.peer.up = True

    def check(self):
        """The peer took everything that it was sent."""
        assert [talk.refusals for talk in self.peer.conversations if talk.refusals] == []


@define(eq=False)
class BehindFailover(OverTheWire):
    """The same as one of several, seen from its peer."""

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self.endpoint = Failover([Member("relay", self.endpoint, Breaker(BreakerSettings()))])


@define(eq=False)
class OneByOne:
    """The endpoint over an answerer, seen from its answerer."""

    answerer: FakeAnswerer = field(init=False)
    endpoint: TurnwiseEndpoint = field(init=False)
    history: Recorded = field(factory=lambda: Recorded(Conversation()))

    def __attrs_post_init__(self):
        settings = Endpoint("texts", "https://127.0.0.1/v1/chat/completions", "m", EndpointKind.CHAT)
        self.answerer = FakeAnswerer(answer_to, speed=PLAYED_FASTER)
        self.history.on_forget = lambda: self.answerer.conversations.append([])
        self.endpoint = TurnwiseEndpoint(
            settings,
            Conversation(),
            lambda settings, conversation: self.answerer,
            lambda: "sk-0123456789abcdef",
            history=self.history,
            jitter=lambda: 0.5,
        )

    @property
    def conversations(self):
        return [questions for questions in self.answerer.conversations if questions]

    @property
    def believed_heard_ms(self):
        return self.history.interrupts[-1][1]

    async def go_down(self):
        """It notices at its next look, at the latest."""
        self.answerer.go_down()
        while self.endpoint.status.link is Link.UP:
            await trio.sleep(0.01)

    async def come_up(self):
        self.answerer.up = True

    def check(self):
        assert self.answerer.at_once <= 1, "one question at a time"


SIDES = {
    "memory": InMemory,
    "realtime-ga": lambda: OverTheWire(Dialect.GA),
    "realtime-beta": lambda: OverTheWire(Dialect.BETA),
    "turnwise": OneByOne,
    "failover": lambda: BehindFailover(Dialect.GA),
}


@pytest.fixture(params=SIDES)
def side(request):
    return SIDES[request.param]()


@pytest.fixture
def reports():
    return Reports()


@pytest.fixture
async def endpoint(side, reports, nursery):
    """Running, and up."""
    nursery.start_soon(side.endpoint.run, reports)
    await reports.until(LinkChanged, link=Link.UP)
    yield side.endpoint
    side.check()


async def ask(endpoint, turn, pcm):
    endpoint.begin(recorded(turn, pcm))
    endpoint.ask(turn)


def heard(side):
    return [question for questions in side.conversations for question in questions]


def about(reports, turn):
    return [event for event in reports.events if getattr(event, "turn", None) == turn]


async def answered(reports, turn, pcm):
    """Wait for a turn's answer, and see that it is the whole and right one, told once."""
    assert (await reports.until(AnswerEnded, turn=turn)).ending is Ending.COMPLETE
    assert reports.sound(turn) == answer_to(pcm)
    assert [type(event) for event in about(reports, turn)].count(AnswerEnded) == 1


async def test_a_question_is_heard_whole_and_answered_in_order(autojump_clock, side, endpoint, reports):
    utterance = Utterance(1, LIMIT)
    endpoint.begin(utterance)
    for piece in range(4):
        utterance.append(sound(piece, ms=20 if piece == 0 else 130))
        await trio.sleep(0.1)
    utterance.end()
    endpoint.ask(1)
    await answered(reports, 1, utterance.since(0))
    assert heard(side) == [utterance.since(0)]
    assert sum(event.duration_ms for event in reports.of(AnswerAudio)) == pytest.approx(1000, abs=1)
    assert isinstance(about(reports, 1)[-1], AnswerEnded)


async def test_nothing_is_answered_before_it_is_asked(autojump_clock, side, endpoint, reports):
    endpoint.begin(recorded(1, sound(1)))
    await trio.sleep(LONG_S)
    assert heard(side) == [] and about(reports, 1) == []


async def test_turn_follows_turn_in_one_conversation(autojump_clock, side, endpoint, reports):
    for turn in (1, 2, 3):
        await ask(endpoint, turn, sound(turn))
        await answered(reports, turn, sound(turn))
    assert side.conversations == [[sound(1), sound(2), sound(3)]]


async def test_barge_in_silences_the_answer_and_tells_what_was_heard(autojump_clock, side, endpoint, reports):
    await ask(endpoint, 1, sound(1))
    await reports.until(AnswerAudio, turn=1)
    await trio.sleep(0.09)
    endpoint.interrupt(1, 130)
    told = len(about(reports, 1))
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))
    assert len(about(reports, 1)) == told
    assert side.believed_heard_ms == 130
    assert side.conversations == [[sound(1), sound(2)]]


async def test_barge_in_on_an_answer_that_is_whole_but_still_playing(autojump_clock, side, endpoint, reports):
    await ask(endpoint, 1, sound(1))
    await answered(reports, 1, sound(1))
    endpoint.interrupt(1, 700)
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))
    assert side.believed_heard_ms == 700


async def test_barge_in_before_a_millisecond_was_heard(autojump_clock, side, endpoint, reports):
    await ask(endpoint, 1, sound(1))
    await reports.until(AnswerAudio, turn=1)
    endpoint.interrupt(1, 0)
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))
    assert side.believed_heard_ms == 0


@pytest.mark.parametrize("after_s", [0, 0.001, 0.05])
async def test_a_cancelled_answer_is_never_reported(autojump_clock, side, endpoint, reports, after_s):
    await ask(endpoint, 1, sound(1))
    await trio.sleep(after_s)
    endpoint.cancel(1)
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))
    assert about(reports, 1) == []


async def test_a_discarded_utterance_is_not_heard_nor_part_of_the_next(autojump_clock, side, endpoint, reports):
    utterance = Utterance(1, LIMIT)
    endpoint.begin(utterance)
    utterance.append(sound("discarded", ms=200))
    await trio.sleep(0.1)
    endpoint.discard(1)
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))
    assert heard(side) == [sound(2)] and about(reports, 1) == []


async def test_a_new_utterance_takes_the_place_of_one_that_was_not_asked(autojump_clock, side, endpoint, reports):
    endpoint.begin(recorded(1, sound(1)))
    await trio.sleep(0.1)
    endpoint.begin(recorded(2, sound(2)))
    endpoint.ask(1)
    endpoint.ask(2)
    await answered(reports, 2, sound(2))
    assert heard(side) == [sound(2)] and about(reports, 1) == []


async def test_a_link_lost_while_listening_loses_nothing(autojump_clock, side, endpoint, reports):
    utterance = Utterance(1, LIMIT)
    endpoint.begin(utterance)
    utterance.append(sound(1))
    await trio.sleep(0.1)
    await side.go_down()
    await reports.until(LinkChanged, link=Link.DOWN)
    utterance.append(sound(2))
    utterance.end()
    endpoint.ask(1)
    await side.come_up()
    await answered(reports, 1, sound(1) + sound(2))
    assert heard(side) == [sound(1) + sound(2)]


async def test_an_unanswered_question_is_asked_again_whole(autojump_clock, side, endpoint, reports):
    await ask(endpoint, 1, sound(1))
    await trio.sleep(0.05)
    assert heard(side) == [sound(1)]
    await side.go_down()
    await reports.until(LinkChanged, link=Link.DOWN)
    await side.come_up()
    await answered(reports, 1, sound(1))
    assert heard(side) == [sound(1)] * 2


async def test_an_answer_in_mid_sound_is_cut_and_never_asked_again(autojump_clock, side, endpoint, reports):
    await ask(endpoint, 1, sound(1))
    await reports.until(AnswerAudio, turn=1)
    await side.go_down()
    cut = await reports.until(AnswerEnded, turn=1)
    assert cut.ending is Ending.CUT and cut.reason
    told = len(about(reports, 1))
    before = len(reports.events)
    await side.come_up()
    await reports.until(LinkChanged, after=before, link=Link.UP)
    await trio.sleep(LONG_S)
    assert len(about(reports, 1)) == told and heard(side) == [sound(1)]
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))


@pytest.mark.parametrize("command", ["cancel", "discard", "forget"])
async def test_what_was_dropped_while_the_link_was_down_is_never_sent(autojump_clock, side, endpoint, reports, command):
    await side.go_down()
    await reports.until(LinkChanged, link=Link.DOWN)
    endpoint.begin(recorded(1, sound(1)))
    if command == "cancel":
        endpoint.ask(1)
    getattr(endpoint, command)(*([] if command == "forget" else [1]))
    before = len(reports.events)
    await side.come_up()
    await reports.until(LinkChanged, after=before, link=Link.UP)
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))
    assert heard(side) == [sound(2)] and about(reports, 1) == []


async def test_forget_begins_a_new_conversation(autojump_clock, side, endpoint, reports):
    await ask(endpoint, 1, sound(1))
    await answered(reports, 1, sound(1))
    endpoint.forget()
    await trio.sleep(LONG_S)
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))
    assert side.conversations == [[sound(1)], [sound(2)]]


async def test_a_question_right_after_forget_belongs_to_the_new_conversation(autojump_clock, side, endpoint, reports):
    await ask(endpoint, 1, sound(1))
    await answered(reports, 1, sound(1))
    endpoint.forget()
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))
    assert side.conversations == [[sound(1)], [sound(2)]]


async def test_commands_for_unknown_turns_do_nothing(autojump_clock, side, endpoint, reports):
    for strike in (endpoint.ask, endpoint.discard, endpoint.cancel):
        strike(99)
    endpoint.interrupt(99, 10)
    endpoint.begin(recorded(1, sound(1)))
    for strike in (endpoint.ask, endpoint.discard, endpoint.cancel):
        strike(99)
    endpoint.ask(1)
    endpoint.ask(1)
    await answered(reports, 1, sound(1))
    assert heard(side) == [sound(1)]


async def test_a_question_that_is_asked_twice_is_answered_once(autojump_clock, side, endpoint, reports):
    await ask(endpoint, 1, sound(1))
    await reports.until(AnswerAudio, turn=1)
    endpoint.ask(1)
    await answered(reports, 1, sound(1))
    endpoint.ask(1)
    await trio.sleep(LONG_S)
    assert heard(side) == [sound(1)]
    await answered(reports, 1, sound(1))


@pytest.mark.parametrize(
    ("command", "after_s"),  # at 0.05 s it thinks, at 0.15 s it speaks; nobody is forgotten while it speaks to him
    [("cancel", 0.05), ("cancel", 0.15), ("discard", 0.05), ("discard", 0.15), ("forget", 0.05)],
)
async def test_nothing_follows_after_a_turn_was_dropped(autojump_clock, side, endpoint, reports, command, after_s):
    await ask(endpoint, 1, sound(1))
    await trio.sleep(after_s)
    told = len(about(reports, 1))
    getattr(endpoint, command)(*([] if command == "forget" else [1]))
    await trio.sleep(LONG_S)
    assert len(about(reports, 1)) == told
    assert heard(side) == [sound(1)]


async def test_an_endpoint_that_was_stopped_runs_again(autojump_clock, side, reports):
    for turn in (1, 2):
        async with trio.open_nursery() as nursery:
            before = len(reports.events)
            nursery.start_soon(side.endpoint.run, reports)
            await reports.until(LinkChanged, after=before, link=Link.UP)
            await ask(side.endpoint, turn, sound(turn))
            await answered(reports, turn, sound(turn))
            nursery.cancel_scope.cancel()
    assert heard(side) == [sound(1), sound(2)]


async def cut(side, endpoint, reports, turn, pcm):
    """Ask, and lose the link when some of the answer has come."""
    await ask(endpoint, turn, pcm)
    await reports.until(AnswerAudio, turn=turn)
    await trio.sleep(0.05)
    await side.go_down()
    assert (await reports.until(AnswerEnded, turn=turn)).ending is Ending.CUT


async def continued(reports, turn, before, pcm):
    """Wait for the rest of an answer, and see that it begins where `before`, in order, had ended."""
    assert (await reports.until(AnswerEnded, turn=turn)).ending is Ending.COMPLETE
    parts = [reports.sound(number) for number in (*before, turn)]
    assert all(parts) and b"".join(parts) == answer_to(pcm)


async def test_the_rest_of_a_cut_answer_is_another_turn(autojump_clock, side, endpoint, reports):
    await cut(side, endpoint, reports, 1, sound(1))
    await side.come_up()
    endpoint.continue_answer(2)
    await continued(reports, 2, [1], sound(1))
    assert heard(side) == [sound(1)]
    assert [type(event) for event in about(reports, 1)].count(AnswerEnded) == 1


async def test_the_rest_can_be_wanted_before_the_link_is_up(autojump_clock, side, endpoint, reports):
    await cut(side, endpoint, reports, 1, sound(1))
    endpoint.continue_answer(2)
    await trio.sleep(LONG_S / 3)
    assert about(reports, 2) == []
    await side.come_up()
    await continued(reports, 2, [1], sound(1))


async def test_the_rest_can_be_cut_again(autojump_clock, side, endpoint, reports):
    await cut(side, endpoint, reports, 1, sound(1))
    await side.come_up()
    endpoint.continue_answer(2)
    await reports.until(AnswerAudio, turn=2)
    await trio.sleep(0.05)
    await side.go_down()
    assert (await reports.until(AnswerEnded, turn=2)).ending is Ending.CUT
    await side.come_up()
    endpoint.continue_answer(3)
    await continued(reports, 3, [1, 2], sound(1))


async def test_the_rest_is_asked_for_again_where_the_link_is_lost_before_it(autojump_clock, side, endpoint, reports):
    await cut(side, endpoint, reports, 1, sound(1))
    before = len(reports.events)
    await side.come_up()
    await reports.until(LinkChanged, after=before, link=Link.UP)
    endpoint.continue_answer(2)
    await trio.sleep(0.05)
    await side.go_down()
    await side.come_up()
    await continued(reports, 2, [1], sound(1))


@pytest.mark.parametrize("command", ["cancel", "discard"])
@pytest.mark.parametrize("up", [True, False])
async def test_nobody_hears_the_rest_after_it_was_dropped(autojump_clock, side, endpoint, reports, command, up):
    await cut(side, endpoint, reports, 1, sound(1))
    if up:
        before = len(reports.events)
        await side.come_up()
        await reports.until(LinkChanged, after=before, link=Link.UP)
    endpoint.continue_answer(2)
    if up:
        await trio.sleep(0.05)
    getattr(endpoint, command)(2)
    await side.come_up()
    await ask(endpoint, 3, sound(3))
    await answered(reports, 3, sound(3))
    assert about(reports, 2) == []


async def test_a_question_takes_the_place_of_the_rest(autojump_clock, side, endpoint, reports):
    await cut(side, endpoint, reports, 1, sound(1))
    endpoint.continue_answer(2)
    await ask(endpoint, 3, sound(3))
    await side.come_up()
    await answered(reports, 3, sound(3))
    await trio.sleep(LONG_S)
    assert about(reports, 2) == [] and heard(side) == [sound(1), sound(3)]


async def test_the_rest_takes_the_place_of_what_was_not_asked(autojump_clock, side, endpoint, reports):
    await cut(side, endpoint, reports, 1, sound(1))
    endpoint.begin(recorded(2, sound(2)))
    await side.come_up()
    endpoint.continue_answer(3)
    endpoint.ask(2)
    await continued(reports, 3, [1], sound(1))
    assert about(reports, 2) == [] and heard(side) == [sound(1)]


async def test_a_new_visitor_hears_nothing_of_a_cut_answer(autojump_clock, side, endpoint, reports):
    await cut(side, endpoint, reports, 1, sound(1))
    await side.come_up()
    endpoint.forget()
    await ask(endpoint, 2, sound(2))
    await answered(reports, 2, sound(2))
    assert side.conversations == [[sound(1)], [sound(2)]]
