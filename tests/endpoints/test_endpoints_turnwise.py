"""An endpoint that answers turn by turn: how it finds out how its link is, and what becomes of a turn in each case.

What every endpoint does at its port is in test_endpoints_port.
"""

import hashlib
import logging

import pytest
import trio
import trio.testing
from attrs import define, evolve, field
from fake_answerer import LOST, MS, FakeAnswerer
from fake_peer import Reports, utterance

from kioskd.config.schema import Conversation, Endpoint, EndpointKind
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged, Speaker, Transcript, Usage
from kioskd.endpoints.answering import Finished, Heard, Words
from kioskd.endpoints.policy import KEY_PROBE_S, OWNER_PROBE_S, Failure, Kind
from kioskd.endpoints.recovery import KEY_LOOK_S
from kioskd.endpoints.turnwise import CHECK_EVERY_S, TurnwiseEndpoint
from kioskd.realtime.replay import Said

KEY = "sk-0123456789abcdef"
SETTINGS = Endpoint("texts", "https://127.0.0.1/v1/chat/completions", "m", EndpointKind.CHAT)
TALK = Conversation()
BAD_KEY = Failure(Kind.UPGRADE, f"Incorrect API key provided: {KEY}", status=401, code="invalid_api_key")
BROKEN = Failure(Kind.ERROR, "overloaded", status=503)
TOLD = Failure(Kind.ERROR, "slow down", status=429, retry_after_s=8.0)
REJECTED = Failure(Kind.ERROR, "Invalid value for messages[0]", status=400)


def sound(seed, ms=300):
    return hashlib.sha256(str(seed).encode()).digest() * (ms * MS // 32)


def answer_to(question):
    return hashlib.sha256(question).digest() * (1000 * MS // 32)


@define(eq=False)
class House:
    """One endpoint; `answerers` are all that it made, `fields` those of the next."""

    fields: dict = field(factory=dict)
    talk: Conversation = TALK
    settings: Endpoint = SETTINGS
    key: object = KEY
    answerers: list = field(factory=list)
    reports: Reports = field(factory=Reports)
    endpoint: TurnwiseEndpoint = field(init=False)

    def __attrs_post_init__(self):
        self.endpoint = TurnwiseEndpoint(self.settings, self.talk, self._make, self._read_key, jitter=lambda: 0.5)

    def _make(self, settings, conversation):
        self.made_of = (settings, conversation)
        self.answerers.append(FakeAnswerer(answer_to, **self.fields))
        return self.answerers[-1]

    def _read_key(self):
        if isinstance(self.key, Exception):
            raise self.key
        return self.key

    made_of: tuple = ()

    @property
    def answerer(self):
        return self.answerers[-1]

    @property
    def link(self):
        return self.endpoint.status.link

    @property
    def questions(self):
        return [question for answerer in self.answerers for question in answerer.questions]

    def ask(self, turn, pcm=None):
        self.endpoint.begin(utterance(turn, sound(turn) if pcm is None else pcm))
        self.endpoint.ask(turn)

    async def until(self, link):
        with trio.fail_after(7200):
            while self.link is not link:
                await trio.sleep(0.01)

    async def ended(self, turn):
        return await self.reports.until(AnswerEnded, turn=turn)

    async def answered(self, turn):
        self.ask(turn)
        assert (await self.ended(turn)).ending is Ending.COMPLETE
        assert self.reports.sound(turn) == answer_to(sound(turn))


@pytest.fixture
async def open_house(nursery):
    async def open_house(up=True, **fields):
        house = House(**fields)
        nursery.start_soon(house.endpoint.run, house.reports)
        if up:
            await house.until(Link.UP)
        return house

    return open_house


# The link


async def test_it_is_up_once_the_check_has_passed_and_is_looked_at_now_and_then(autojump_clock, open_house):
    house = await open_house()
    assert [event.link for event in house.reports.of(LinkChanged)] == [Link.CONNECTING, Link.UP]
    await trio.sleep(10 * CHECK_EVERY_S + 1)
    assert 10 <= house.answerer.checks <= 12
    assert len(house.answerers) == 1


async def test_a_network_that_changes_is_looked_at_at_once(autojump_clock, open_house):
    house = await open_house()
    house.answerer.go_down()
    house.endpoint.network_changed()
    began = trio.current_time()
    await house.until(Link.DOWN)
    assert trio.current_time() - began < 1
    house.fields = {"up": False}
    await trio.sleep(600)
    tried = len(house.answerers)
    house.fields = {}
    house.endpoint.network_changed()
    await trio.sleep(1.5)
    assert house.link is Link.UP and len(house.answerers) == tried + 1


async def test_a_bad_key_is_refused_and_a_new_one_is_tried_within_a_second(autojump_clock, open_house, caplog):
    caplog.set_level(logging.DEBUG)
    house = await open_house(up=False, fields={"failing": BAD_KEY})
    await house.until(Link.REFUSED)
    assert "key" in house.endpoint.status.cause and KEY not in house.endpoint.status.cause + caplog.text
    house.ask(1)
    await trio.sleep(OWNER_PROBE_S / 2)
    assert len(house.answerers) == 1, "a refused one isn't bothered"
    house.key, house.fields = "sk-another-0123456789", {}
    await trio.sleep(KEY_LOOK_S + 0.1)
    assert house.link is Link.UP


async def test_nobody_waits_for_an_answer_of_one_that_refuses(autojump_clock, open_house):
    house = await open_house()
    house.answerer.failing = BAD_KEY
    house.fields = {"failing": BAD_KEY}
    began = trio.current_time()
    house.ask(1)
    ended = await house.ended(1)
    assert ended.ending is Ending.FAILED and trio.current_time() - began < 2
    assert house.link is Link.REFUSED


async def test_without_a_key_nothing_is_asked(autojump_clock, open_house):
    house = await open_house(up=False, key=ValueError("no key found: file /etc/x does not exist"))
    await house.until(Link.REFUSED)
    assert house.answerers == [] and "/etc/x" in house.endpoint.status.cause
    house.key = KEY
    await trio.sleep(KEY_PROBE_S)
    assert house.link is Link.UP


async def test_a_check_that_hangs_is_given_up(autojump_clock, open_house):
    house = await open_house()

    async def hang():
        await trio.sleep_forever()

    house.answerer.check = hang
    house.fields = {"up": False}
    await trio.sleep(CHECK_EVERY_S + SETTINGS.open_timeout_s + SETTINGS.setup_timeout_s + 1)
    assert house.link is not Link.UP


async def test_a_question_does_not_wait_for_a_check(autojump_clock, open_house):
    house = await open_house()
    hanging = trio.Event()

    async def hang():
        hanging.set()
        await trio.sleep_forever()

    house.answerer.check = hang
    await hanging.wait()
    began = trio.current_time()
    await house.answered(1)
    assert trio.current_time() - began < 1


# The turn


async def test_a_turn_is_told_in_order_and_its_words_are_part_of_the_next_question(autojump_clock, open_house):
    house = await open_house(fields={"extra": [Heard("when do you open"), Usage(99, input_text=3)]})
    await house.answered(1)
    told = [event for event in house.reports.events if getattr(event, "turn", None) == 1]
    kinds = [type(event) for event in told if not isinstance(event, AnswerAudio)]
    assert kinds == [Transcript, Usage, Transcript, AnswerEnded]
    words = " ".join(f"word{n}" for n in range(10)) + " "
    assert told[0] == Transcript(1, Speaker.VISITOR, "when do you open")
    assert told[-2] == Transcript(1, Speaker.KIOSK, words)
    await house.answered(2)
    assert list(house.questions[0].said) == []
    assert list(house.questions[1].said) == [Said(Speaker.VISITOR, "when do you open"), Said(Speaker.KIOSK, words)]


async def test_what_was_not_heard_is_not_said(autojump_clock, open_house):
    house = await open_house(fields={"extra": [Heard("tell me a story")]})
    house.ask(1)
    await house.reports.until(AnswerAudio, turn=1)
    await trio.sleep(0.3)
    before = house.answerer.forgotten
    house.endpoint.interrupt(1, 200)
    house.ask(2)
    await house.ended(2)
    said = list(house.questions[1].said)
    assert said[0] == Said(Speaker.VISITOR, "tell me a story")
    assert said[1].text.startswith("word0") and said[1].text.endswith("[interrupted about here]")
    assert house.answerer.forgotten == before + 1, "its own side may believe that all was heard"
    assert house.answerer.at_once == 1


async def test_its_own_side_may_go_on_where_nothing_came_between(autojump_clock, open_house):
    house = await open_house()
    await house.answered(1)
    before = house.answerer.forgotten
    await house.answered(2)
    assert house.answerer.forgotten == before


async def test_a_cut_answer_is_gone_on_with_by_what_was_said_of_it(autojump_clock, open_house):
    house = await open_house(fields={"extra": [Heard("tell me a story")]})
    house.ask(1)
    await house.reports.until(AnswerAudio, turn=1)
    house.answerer.go_down()
    assert (await house.ended(1)).ending is Ending.CUT
    house.endpoint.continue_answer(2)
    await house.ended(2)
    question = house.questions[-1]
    assert question.sound is None
    assert question.said[-2] == Said(Speaker.VISITOR, "tell me a story")
    assert question.said[-1].text.startswith("word0") and question.said[-1].text.endswith("[cut off]")


@pytest.mark.parametrize("failure", [LOST, BROKEN])
async def test_a_question_that_failed_is_asked_again_while_the_visitor_waits(autojump_clock, open_house, failure):
    house = await open_house()
    house.answerer.refusing = failure
    house.ask(1)
    assert (await house.ended(1)).ending is Ending.COMPLETE
    assert len(house.questions) == 2 and [question.turn for question in house.questions] == [1, 1]
    assert house.answerers[0].running == 0
    assert [event.turn for event in house.reports.of(AnswerEnded)] == [1]


async def test_a_told_wait_is_a_floor(autojump_clock, open_house):
    house = await open_house()
    house.answerer.refusing = TOLD
    house.ask(1)
    began = trio.current_time()
    await house.reports.until(LinkChanged, link=Link.DOWN)
    house.endpoint.network_changed()
    assert (await house.ended(1)).ending is Ending.COMPLETE
    assert trio.current_time() - began >= 8


async def test_it_gives_up_at_the_answer_timeout_and_sends_nothing_later(autojump_clock, open_house):
    house = await open_house(fields={"refusing": LOST})
    house.ask(1)
    began = trio.current_time()
    ended = await house.ended(1)
    assert ended.ending is Ending.FAILED and "answer_timeout_s" in ended.reason
    assert 0 < trio.current_time() - began - TALK.answer_timeout_s < 5
    asked = len(house.questions)
    house.fields = {}
    await trio.sleep(600)
    assert len(house.questions) == asked < 40, "bounded"
    await house.answered(2)


async def test_a_silent_answerer_is_given_up_with_its_connection(autojump_clock, open_house):
    house = await open_house(fields={"think_s": 1000})
    house.fields = {}
    house.ask(1)
    assert (await house.ended(1)).ending is Ending.FAILED
    await house.answered(2)
    assert len(house.answerers) == 2


async def test_an_answer_that_stalls_is_cut(autojump_clock, open_house):
    house = await open_house(fields={"stalls_after": 3})
    house.ask(1)
    await house.reports.until(AnswerAudio, turn=1)
    began = trio.current_time()
    ended = await house.ended(1)
    assert ended.ending is Ending.CUT and "stalled" in ended.reason
    assert TALK.answer_stall_s <= trio.current_time() - began < TALK.answer_stall_s + 5


@pytest.mark.parametrize(("failure", "ending"), [(BROKEN, Ending.CUT), (LOST, Ending.CUT), (BAD_KEY, Ending.FAILED)])
async def test_an_error_in_the_middle_is_a_cut_unless_the_owner_must_act(autojump_clock, open_house, failure, ending):
    house = await open_house(fields={"breaks_after": 2, "refusing": failure})
    house.ask(1)
    ended = await house.ended(1)
    assert ended.ending is ending and KEY not in ended.reason
    assert len(house.questions) == 1


async def test_a_question_that_is_rejected_is_no_reason_to_refuse_all(autojump_clock, open_house):
    house = await open_house(fields={"refusing": REJECTED})
    house.ask(1)
    ended = await house.ended(1)
    assert ended.ending is Ending.FAILED and "messages[0]" in ended.reason
    await trio.sleep(1)
    assert house.link is Link.UP and len(house.questions) == 1
    house.answerer.refusing = None
    await house.answered(2)


async def test_nothing_understood_is_no_failure_of_the_endpoint(autojump_clock, open_house):
    house = await open_house()
    house.answerer.answer_to = lambda pcm: b""
    house.ask(1)
    assert await house.ended(1) == AnswerEnded(1, Ending.COMPLETE, "nothing was understood")
    house.answerer.extra = [Heard("hello")]
    house.ask(2)
    assert (await house.ended(2)).ending is Ending.FAILED


async def test_what_a_question_was_found_to_be_outlives_the_answerer_that_found_it(autojump_clock, open_house):
    house = await open_house()
    house.answerer.extra = [Heard("when do you open"), LOST]
    house.ask(1)
    await house.ended(1)
    await house.answered(2)
    assert [(question.turn, question.heard) for question in house.questions] == [
        (1, ""),
        (1, "when do you open"),
        (2, ""),
    ]
    assert len(house.answerers) > 1


async def test_an_answer_that_the_model_ended_before_it_sounded_is_not_asked_for_again(autojump_clock, open_house):
    house = await open_house(fields={"finish": Finished.TRUNCATED, "extra": [Heard("something rude")]})
    house.answerer.answer_to = lambda pcm: b""
    house.ask(1)
    assert (await house.ended(1)).ending is Ending.FAILED
    assert len(house.questions) == 1
    assert house.endpoint.status.link is Link.UP


async def test_words_without_sound_are_written_anew_with_the_next_try(autojump_clock, open_house):
    house = await open_house()
    house.answerer.extra = [Words("The museum opens "), LOST]
    house.ask(1)
    await house.reports.until(AnswerAudio, turn=1)
    house.endpoint.interrupt(1, 99)
    await house.answered(2)
    assert house.questions[-1].said[-1].text.startswith("word0")


async def test_a_limit_of_the_model_is_told(autojump_clock, open_house):
    house = await open_house(fields={"finish": Finished.TRUNCATED})
    house.ask(1)
    assert (await house.ended(1)).ending is Ending.TRUNCATED


async def test_no_more_questions_than_the_owner_pays_for(autojump_clock, open_house):
    house = await open_house(settings=evolve(SETTINGS, requests_per_minute=2))
    for turn in (1, 2):
        await house.answered(turn)
    house.ask(3)
    ended = await house.ended(3)
    assert ended.ending is Ending.FAILED and "requests_per_minute" in ended.reason
    await trio.sleep(61)
    await house.answered(4)


@pytest.mark.parametrize("command", ["cancel", "discard", "interrupt", "forget"])
async def test_whoever_answers_is_stopped_at_once(autojump_clock, open_house, command):
    house = await open_house()
    stopped = []

    async def answer(question, take):
        try:
            await trio.sleep_forever()
        finally:
            stopped.append(trio.current_time())

    house.answerer.answer = answer
    house.ask(1)
    await trio.sleep(1)
    now = trio.current_time()
    getattr(house.endpoint, command)(*{"forget": (), "interrupt": (1, 0)}.get(command, (1,)))
    await trio.testing.wait_all_tasks_blocked()
    assert stopped == [now]
    await trio.sleep(100)
    assert house.reports.of(AnswerEnded) == [] and len(house.answerers) == 1


async def test_what_can_be_done_ahead_is(autojump_clock, open_house):
    house = await open_house()
    house.endpoint.begin(utterance(7, sound(7)))
    assert house.answerer.prepared == [7]


# Changes


async def test_other_settings_count_from_the_next_question_and_nobody_sees_a_gap(autojump_clock, open_house):
    house = await open_house()
    house.ask(1)
    await house.reports.until(AnswerAudio, turn=1)
    new, talk = evolve(SETTINGS, voice="ash"), evolve(TALK, instructions="Be brief.")
    house.endpoint.adjust(new, talk)
    assert (await house.ended(1)).ending is Ending.COMPLETE
    await trio.sleep(10)
    assert len(house.answerers) == 2 and house.made_of == (new, talk)
    assert [event.link for event in house.reports.of(LinkChanged)] == [Link.CONNECTING, Link.UP]
    await house.answered(2)
    assert house.answerers[0].running == 0


async def test_a_replaced_key_is_used_once_nobody_talks(autojump_clock, open_house):
    house = await open_house()
    house.endpoint.renew()
    await trio.sleep(5)
    assert len(house.answerers) == 2 and house.link is Link.UP


async def test_it_is_opened_anew_and_the_question_asked_again(autojump_clock, open_house):
    house = await open_house()
    house.ask(1)
    await trio.sleep(0.05)
    house.endpoint.reopen()
    assert (await house.ended(1)).ending is Ending.COMPLETE
    assert len(house.answerers) == 2


async def test_its_pulse_never_stands_still(autojump_clock, open_house):
    house = await open_house(fields={"think_s": 14})
    for turn in range(3):
        house.ask(turn)
        for _ in range(200):
            await trio.sleep(0.5)
            pulse = house.endpoint.pulse
            assert pulse.excuse or pulse.age_s <= 2 * SETTINGS.ping_interval_s
