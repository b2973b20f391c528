"""One conversation, whatever kind of endpoint answers: the same eight things over each, on real sockets.

WITHOUT is the rest of the table: what a kind has no use for, and why. Every other cell is a test.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import trio
import trio.testing
from talk_parts import (
    BEFORE,
    DEMO,
    EXIT,
    KEY,
    LOUDER,
    SAYS,
    STORY,
    TICKET,
    Witness,
    at,
    clock,
    once,
    said_as,
    simulator,
    talking,
)

from kioskd.config.schema import EndpointKind
from kioskd.dialogue.events import AnswerAudio, Ending, Link, Speaker, Transcript
from kioskd.simulator.faults.catalogue import Phase
from kioskd.simulator.faults.replies import WAIT_S
from kioskd.simulator.faults.script import FaultScript, Rule
from kioskd.simulator.settings import Pace

CASES = ("ask", "follow-up", "barge-in", "tool call", "cut answer", "bad key", "429", "network drop")
WITHOUT = {
    ("local", "follow-up"): "an FAQ answers each question by itself",
    ("local", "tool call"): "an FAQ calls no tool",
    ("local", "cut answer"): "what is made here is whole",
    ("local", "bad key"): "it has no key",
    ("local", "429"): "nobody counts its questions",
    ("local", "network drop"): "it needs no network; it is who answers then",
    ("chat-plain", "cut answer"): "an answer comes whole or not at all, which is a network drop",
}
EVERY_DAY = ("realtime", "responses", "chat-sse", "audio-sse", "local")  # the others do these things in the stage long
ALWAYS = ("ask", "follow-up", "tool call")
ran = set()  # by over(): the cells that are tests


def over(case):
    """Over every kind that has a use for this."""
    names = [name for name in DEMO if (name, case) not in WITHOUT]
    ran.update(itertools.product(names, [case]))
    rare = [] if case in ALWAYS else [name for name in names if name not in EVERY_DAY]
    marked = [pytest.param(name, marks=pytest.mark.long) if name in rare else name for name in names]
    return pytest.mark.parametrize("name", marked)


@pytest.fixture
def faster():
    return clock()


def questions(talk, turn):
    """What the kiosk wrote down of a question. `audio-sse` has nobody who does."""
    return [each.text for each in talk.reports.of(Transcript) if each.turn == turn and each.speaker is Speaker.VISITOR]


async def answered(talk, turn, question):
    """A whole answer, in words and as the sound of just those words."""
    words = await talk.ask(turn, question)
    assert (await talk.ended(turn)).ending is Ending.COMPLETE
    assert words == SAYS.get(question, words)
    if question is not STORY:  # which has several sentences, spoken one by one by some
        assert talk.reports.sound(turn) == said_as(words)
    return words


@over("ask")
async def test_ask(faster, tmp_path: Path, name: str) -> None:
    async with simulator(tmp_path) as port, talking(tmp_path, at(port, name)) as talk:
        await talk.up()
        await answered(talk, 1, EXIT)
        assert questions(talk, 1) == ([] if DEMO[name].kind is EndpointKind.AUDIO_SSE else [EXIT])


@over("follow-up")
async def test_follow_up(faster, tmp_path: Path, name: str) -> None:
    async with simulator(tmp_path) as port, talking(tmp_path, at(port, name)) as talk:
        await talk.up()
        await answered(talk, 1, TICKET)
        assert await answered(talk, 2, BEFORE) == f"Before this, you asked: {TICKET}."
        talk.roster.forget()
        assert TICKET not in await answered(talk, 3, BEFORE), "the next visitor is another one"


@over("barge-in")
async def test_barge_in(faster, tmp_path: Path, name: str) -> None:
    at_a_voices_pace = Pace(speed=2.0, created_after_s=0.0)
    async with simulator(tmp_path, pace=at_a_voices_pace) as port, talking(tmp_path, at(port, name)) as talk:
        await talk.up()
        talk.begin(1, STORY)
        await talk.sounds(1)
        talk.roster.interrupt(1, 40)
        before = len(talk.reports.of(AnswerAudio))
        await answered(talk, 2, EXIT)
        if DEMO[name].kind is not EndpointKind.LOCAL:
            assert await answered(talk, 3, BEFORE) == f"Before this, you asked: {EXIT}."
        assert {each.turn for each in talk.reports.of(AnswerAudio)[before:]} <= {2, 3}


@over("tool call")
async def test_tool_call(faster, tmp_path: Path, name: str) -> None:
    async with simulator(tmp_path) as port, talking(tmp_path, at(port, name)) as talk:
        await talk.up()
        assert await answered(talk, 1, LOUDER) == "It is done: volume 80."
        assert talk.tools.called == [(1, "set_volume", {"percent": 80})]
        await answered(talk, 2, TICKET)


@over("cut answer")
async def test_cut_answer(faster, tmp_path: Path, name: str) -> None:
    kind = DEMO[name].kind
    cut = "close-1011" if kind is EndpointKind.REALTIME else "answer-disconnect"
    faults, witness = FaultScript([Rule(cut, Phase.ANSWERING, times=1, after=8)]), Witness()
    async with simulator(tmp_path, faults, witness) as port, talking(tmp_path, at(port, name)) as talk:
        await talk.up()
        talk.begin(1, STORY)
        assert (await talk.ended(1)).ending is Ending.CUT
        assert witness.faults == [(cut, "answering")]
        heard = talk.reports.sound(1)
        assert heard and len(heard) < len(said_as(SAYS[STORY]))
        await talk.up()
        talk.roster.continue_answer(2)
        assert (await talk.ended(2)).ending is Ending.COMPLETE
        assert SAYS[STORY].endswith(talk.words(2)) and talk.words(2)
        await answered(talk, 3, TICKET)


@over("bad key")
async def test_bad_key(faster, tmp_path: Path, name: str) -> None:
    wrong = "sk-0123456789-the-wrong-one"
    async with simulator(tmp_path) as port, talking(tmp_path, at(port, name), key=wrong) as talk:
        await talk.until(Link.REFUSED)
        told = talk.roster.status.cause
        assert "key" in told and wrong not in told
        talk.key = KEY
        await talk.up()
        await answered(talk, 1, EXIT)


@over("429")
async def test_too_many_requests(faster, tmp_path: Path, name: str) -> None:
    socket = DEMO[name].url.startswith("ws")
    realtime = DEMO[name].kind is EndpointKind.REALTIME
    kinds = [*(["upgrade-429-header"] if socket else []), *([] if realtime else ["request-429-header"])]
    witness = Witness()
    async with simulator(tmp_path, once(*kinds), witness) as port:
        began = trio.current_time()
        async with talking(tmp_path, at(port, name)) as talk:
            await answered(talk, 1, EXIT)
        waited_s = trio.current_time() - began
    assert sorted(kind for kind, _ in witness.faults) == sorted(kinds)
    assert waited_s >= WAIT_S * len(kinds), "the wait that was told is a floor"


@over("network drop")
async def test_network_drop(faster, tmp_path: Path, name: str) -> None:
    faults, witness = FaultScript([Rule("rst-mid-frame", Phase.ASKED, times=1)]), Witness()
    away = simulator(tmp_path, faults, witness, proxied=True)
    async with away as port, talking(tmp_path, at(port, name)) as talk:
        await talk.up()
        await answered(talk, 1, TICKET)
        assert witness.faults == [("rst-mid-frame", "asked")]
        assert await answered(talk, 2, BEFORE) == f"Before this, you asked: {TICKET}."


def test_the_table_is_whole() -> None:
    assert ran | WITHOUT.keys() == set(itertools.product(DEMO, CASES))
    assert not ran & WITHOUT.keys()
