"""What each fault of the messages does to a client, over memory, in virtual time."""

from __future__ import annotations

import base64
from typing import Any, get_args

import openai.types.beta.realtime as beta_types
import openai.types.realtime as ga_types
import pytest
import trio
import trio.testing
from pydantic import TypeAdapter
from simulator_client import PUSH_TO_TALK, Client, ScriptedBrain, Witness, connected, tone
from trio.testing import MockClock

from kioskd.config.schema import Dialect
from kioskd.simulator.conversation import ChannelClosed
from kioskd.simulator.faults.catalogue import KINDS, Kind, Level, Phase
from kioskd.simulator.faults.channel import FaultyChannel
from kioskd.simulator.faults.phases import PhaseTracker
from kioskd.simulator.faults.script import FaultScript, Rule

pytestmark = pytest.mark.long

PATIENCE_S = 30.0  # virtual; for what never comes
AUDIO = ("response.output_audio.delta", "response.audio.delta")
SOUND = tone(2000)
MESSAGE_KINDS = [kind for kind in KINDS.values() if kind.level is Level.MESSAGE]


def once(kind: str, phase: Phase | None = None, after: int = 0) -> FaultScript:
    return FaultScript([Rule(kind, phase, times=1, after=after)])


def in_order(kind: Kind) -> list[Phase]:
    """Its phases; a set's own order differs from one process to the next, and pytest-xdist compares."""
    return [phase for phase in Phase if phase in kind.phases]


def brain() -> ScriptedBrain:
    return ScriptedBrain(sound=SOUND)


def sound(events: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in events if event["type"] in AUDIO)


def count(client: Client, kind: str) -> int:
    return client.kinds().count(kind)


async def listen(client: Client, *kinds: str) -> bool:
    """Whether an event of these kinds comes within a while, or anything at all if there are none."""
    with trio.move_on_after(PATIENCE_S):
        await client.until(*kinds)
        return True
    return False


async def turn(client: Client, cancel: bool = False) -> bool:
    """Ask, however the server behaves; whether there was a `response.done`."""
    await client.append(tone(300))
    await client.append(tone(300))
    await client.send("input_audio_buffer.commit")
    await client.send("response.create")
    if cancel:
        await listen(client, *AUDIO)
        await client.send("response.cancel")
    return await listen(client, "response.done")


async def use(client: Client) -> None:
    """Set up and ask three times, as far as it goes."""
    try:
        await client.send("session.update", session=PUSH_TO_TALK[client.dialect])
        await listen(client, "session.updated")
        for cancel in (False, True, False):
            await turn(client, cancel)
            await listen(client, "rate_limits.updated")
    except (trio.EndOfChannel, trio.BrokenResourceError):
        return


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(("kind", "phase"), [(kind.name, phase) for kind in MESSAGE_KINDS for phase in in_order(kind)])
async def test_every_fault_happens_in_each_of_its_phases(
    autojump_clock: MockClock, dialect: Dialect, kind: str, phase: Phase
) -> None:
    witness = Witness()
    faults = once(kind, phase)
    async with connected(autojump_clock, dialect, brain(), observer=witness, faults=faults) as client:
        await use(client)
    assert witness.faults == [(kind, phase.value)]
    assert faults.hits == {(kind, phase): 1}


async def test_without_a_fault_nothing_is_changed(autojump_clock: MockClock) -> None:
    witness = Witness()
    async with connected(autojump_clock, brain=brain(), observer=witness, faults=FaultScript([])) as client:
        await client.push_to_talk()
        assert (await client.ask())["status"] == "completed"
    assert sound(client.events) == SOUND
    assert witness.faults == []


ENDS = [
    ("error-close-3000", ("invalid_api_key", 3000)),
    ("error-close-4000", ("missing_model", 4000)),
    ("session-expired", ("session_expired", 1001)),
    *((f"close-{code}", (None, code)) for code in (1001, 1008, 1009, 1011, 1012)),
]


@pytest.mark.parametrize(
    ("kind", "phase", "expected"), [(kind, phase, said) for kind, said in ENDS for phase in in_order(KINDS[kind])]
)
async def test_a_close_ends_the_connection_where_it_strikes(
    autojump_clock: MockClock, kind: str, phase: Phase, expected: tuple[str | None, int]
) -> None:
    code, closed = expected
    async with connected(autojump_clock, brain=brain(), faults=once(kind, phase)) as client:
        await use(client)
        errors = [event["error"]["code"] for event in client.events if event["type"] == "error"]
        assert errors == ([code] if code else [])
        if code:
            assert client.kinds()[-1] == "error"
        assert client.channel.closed is not None
        assert client.channel.closed[0] == closed
        assert ("session.updated" in client.kinds()) == (phase is not Phase.SETUP)
        assert (count(client, AUDIO[0]) > 0) == (phase is Phase.ANSWERING)
        assert "response.done" not in client.kinds()


async def test_a_key_is_refused_before_the_session_is_created(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, faults=once("error-close-3000")) as client:
        assert (await client.next())["error"]["code"] == "invalid_api_key"
        with pytest.raises(trio.EndOfChannel):
            await client.next()


async def test_a_close_while_nothing_else_happens(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, faults=once("close-1012", Phase.IDLE)) as client:
        await client.push_to_talk()
        with pytest.raises(trio.EndOfChannel):
            await client.next()
        assert client.channel.closed == (1012, "")


async def extra(clock: MockClock, kind: str, phase: Phase) -> tuple[Client, list[dict[str, Any]]]:
    """A turn, and what came beside what a turn brings."""
    async with connected(clock, brain=brain(), faults=once(kind, phase)) as client:
        await client.send("session.update", session=PUSH_TO_TALK[Dialect.GA])
        await client.until("session.updated")
        assert await turn(client)
        known = {get_args(member.model_fields["type"].annotation)[0] for member in members(Dialect.GA)}
        strange = [event for event in client.events if event["type"] not in known or event["type"] == "error"]
        assert sound(client.events) == SOUND
        assert client.events[-1]["response"]["status"] == "completed"
        return client, strange


def members(dialect: Dialect) -> tuple[Any, ...]:
    types = {Dialect.GA: ga_types, Dialect.BETA: beta_types}[dialect]
    return get_args(get_args(types.RealtimeServerEvent)[0])


@pytest.mark.parametrize("phase", [Phase.SETUP, Phase.LISTENING, Phase.ASKED, Phase.ANSWERING])
async def test_what_a_client_must_ignore_changes_nothing_else(autojump_clock: MockClock, phase: Phase) -> None:
    _, strange = await extra(autojump_clock, "garbage-json", phase)
    assert [type(event["frame"]) for event in strange] == [str]
    _, strange = await extra(autojump_clock, "binary-frame", phase)
    assert [type(event["frame"]) for event in strange] == [bytes]
    _, strange = await extra(autojump_clock, "unknown-event", phase)
    assert [event["type"] for event in strange] == ["response.mood.updated"]
    _, strange = await extra(autojump_clock, "null-code-error", phase)
    assert [(event["error"]["code"], event["error"]["type"]) for event in strange] == [
        (None, "response_cancel_not_active")
    ]


async def test_a_frame_of_20_mb(autojump_clock: MockClock) -> None:
    _, [event] = await extra(autojump_clock, "frame-20mb", Phase.ANSWERING)
    assert len(event["padding"]) == 20 * 2**20


@pytest.mark.parametrize("dialect", Dialect)
async def test_sound_that_is_no_base64_comes_beside_the_true_one(autojump_clock: MockClock, dialect: Dialect) -> None:
    async with connected(autojump_clock, dialect, brain(), faults=once("bad-base64")) as client:
        await client.push_to_talk()
        await client.ask()
    deltas = [event for event in client.events if event["type"] in AUDIO]
    with pytest.raises(ValueError, match="base64"):
        base64.b64decode(deltas[0]["delta"], validate=True)
    assert sound(deltas[1:]) == SOUND
    assert deltas[0]["event_id"] != deltas[1]["event_id"]


async def test_half_a_sample_is_carried_over(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, brain=brain(), faults=once("odd-bytes", Phase.ANSWERING)) as client:
        await client.push_to_talk()
        await client.ask()
    sizes = [len(base64.b64decode(event["delta"])) for event in client.events if event["type"] in AUDIO]
    assert sizes.count(1) == 2
    assert sound(client.events) == SOUND
    assert len({event["event_id"] for event in client.events}) == len(client.events)


@pytest.mark.parametrize("phase", Phase)
async def test_an_event_comes_twice(autojump_clock: MockClock, phase: Phase) -> None:
    if phase is Phase.CONNECT:
        return
    async with connected(autojump_clock, brain=brain(), faults=once("duplicate-event", phase)) as client:
        await use(client)
    ids = [event["event_id"] for event in client.events]
    assert len(ids) - len(set(ids)) == 1


async def test_rate_limits_come_in_the_next_turn(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, brain=brain(), faults=once("late-rate-limits")) as client:
        await client.push_to_talk()
        await client.ask()
        client.events.clear()
        await client.ask()
        assert client.kinds()[:2] == ["input_audio_buffer.committed", "rate_limits.updated"]
        await client.until("rate_limits.updated")
        assert count(client, "rate_limits.updated") == 2  # the late one, and this turn's own


@pytest.mark.parametrize(
    ("kind", "event", "times"),
    [
        ("no-response-created", "response.created", 0),
        ("no-response-done", "response.done", 0),
        ("second-response-done", "response.done", 2),
        ("update-unacknowledged", "session.updated", 0),
    ],
)
async def test_an_event_is_left_out_or_doubled(autojump_clock: MockClock, kind: str, event: str, times: int) -> None:
    async with connected(autojump_clock, brain=brain(), faults=once(kind)) as client:
        await client.send("session.update", session=PUSH_TO_TALK[Dialect.GA])
        await listen(client, "session.updated")
        await turn(client)
        await listen(client, "rate_limits.updated")
        assert count(client, event) == times
        assert sound(client.events) == SOUND  # push-to-talk was taken over, acknowledged or not
        if times == 2:
            ids = [each["event_id"] for each in client.events if each["type"] == event]
            assert len(set(ids)) == 2
        client.events.clear()
        await turn(client)
        assert count(client, event) == 0 if event == "session.updated" else 1


CUTS = [
    ("failed-rate-limit", "failed", "rate_limit_exceeded"),
    ("failed-server-error", "failed", "server_error"),
    ("incomplete-max-tokens", "incomplete", "max_output_tokens"),
    ("incomplete-content-filter", "incomplete", "content_filter"),
]


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(("kind", "status", "why"), CUTS)
async def test_an_answer_is_cut_in_its_middle(
    autojump_clock: MockClock, dialect: Dialect, kind: str, status: str, why: str
) -> None:
    faults = once(kind, Phase.ANSWERING, after=6)
    async with connected(autojump_clock, dialect, brain(), faults=faults) as client:
        await client.push_to_talk()
        done = await client.ask()
        assert 0 < len(sound(client.events)) < len(SOUND)
        assert sound(client.events) == SOUND[: len(sound(client.events))]
        assert done["status"] == status
        details = done["status_details"]
        assert details["type"] == status
        assert (done["usage"] is None) == (status == "failed")
        assert [item["status"] for item in done["output"]] == ["incomplete"]
        assert (details["error"]["code"] if status == "failed" else details["reason"]) == why
        assert not [kind for kind in client.kinds() if kind.startswith("response.") and kind.endswith("audio.done")]
        client.events.clear()
        assert (await client.ask())["status"] == "completed"
        assert sound(client.events) == SOUND


@pytest.mark.parametrize(("kind", "status", "why"), CUTS)
async def test_an_answer_ends_before_it_begins(autojump_clock: MockClock, kind: str, status: str, why: str) -> None:
    async with connected(autojump_clock, brain=brain(), faults=once(kind, Phase.ASKED)) as client:
        await client.push_to_talk()
        client.events.clear()
        done = await client.ask()
        assert [kind for kind in client.kinds() if kind.startswith("response.")] == [
            "response.created",
            "response.done",
        ]
        assert (done["status"], done["output"]) == (status, [])
        items = [event["item"]["role"] for event in client.events if "item" in event]
        assert items == ["user", "user"]  # added, done; of the answer's nothing is told


@pytest.mark.parametrize("dialect", Dialect)
async def test_an_answer_comes_as_text(autojump_clock: MockClock, dialect: Dialect) -> None:
    async with connected(autojump_clock, dialect, brain(), faults=once("text-only-answer")) as client:
        await client.push_to_talk()
        done = await client.ask()
        kind = "response.output_text" if dialect is Dialect.GA else "response.text"
        assert (
            "".join(event["delta"] for event in client.events if event["type"] == f"{kind}.delta") == client.brain.reply
        )
        assert [event["text"] for event in client.events if event["type"] == f"{kind}.done"] == [client.brain.reply]
        assert not [kind for kind in client.kinds() if "audio" in kind and kind.startswith("response.")]
        content = {"type": "output_text" if dialect is Dialect.GA else "text", "text": client.brain.reply}
        assert done["output"][0]["content"] == [content]
        shown = [event["item"] for event in client.events if event.get("item", {}).get("role") == "assistant"]
        assert [item["content"] for item in shown if item["status"] == "completed"] == [[content]] * (len(shown) - 2)
        client.events.clear()
        await client.ask()
        assert sound(client.events) == SOUND


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.LISTENING])
async def test_it_answers_by_itself(autojump_clock: MockClock, phase: Phase) -> None:
    async with connected(autojump_clock, brain=brain(), faults=once("answers-by-itself", phase)) as client:
        await client.push_to_talk()
        if phase is Phase.LISTENING:
            await client.append(tone(300))
        assert (await client.until("response.done"))["response"]["status"] == "completed"
        assert sound(client.events)
        assert "error" not in client.kinds()
        assert (await client.ask())["status"] == "completed"


async def test_nobody_hears_that_it_could_not_answer_by_itself(autojump_clock: MockClock) -> None:
    faults = FaultScript([Rule("answers-by-itself", Phase.LISTENING, times=3)])
    async with connected(autojump_clock, brain=brain(), faults=faults) as client:
        await client.push_to_talk()
        for _ in range(3):
            await client.append(tone(100))
        await client.until("rate_limits.updated")
        assert count(client, "response.created") == 1
        assert "error" not in client.kinds()


async def test_one_fault_at_a_time(autojump_clock: MockClock) -> None:
    witness = Witness()
    rules = [Rule("second-response-done", Phase.LISTENING, times=2), Rule("unknown-event")]
    faults = FaultScript(rules)
    async with connected(autojump_clock, brain=brain(), observer=witness, faults=faults) as client:
        await client.push_to_talk()
        for _ in range(2):
            client.events.clear()
            await turn(client)
            await listen(client, "rate_limits.updated")
            kinds = client.kinds()
            assert kinds.count("response.done") == 2
            turn_is = slice(kinds.index("input_audio_buffer.committed"), kinds.index("response.done"))
            assert "response.mood.updated" not in kinds[turn_is]
    assert ("unknown-event", "idle") in witness.faults
    assert faults.hits[("second-response-done", Phase.LISTENING)] == 2


async def test_an_update_is_rejected(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, brain=brain(), faults=once("update-rejected")) as client:
        await client.send("session.update", session=PUSH_TO_TALK[Dialect.GA], event_id="mine")
        error = await client.error()
        assert (error["type"], error["code"], error["event_id"]) == ("invalid_request_error", "invalid_value", "mine")
        assert client.conversation.session.rendered()["audio"]["input"]["turn_detection"] is not None
        await client.push_to_talk()


async def test_silence_in_the_middle_of_a_turn(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, brain=brain(), faults=once("silent-upstream", Phase.ANSWERING, 4)) as client:
        await client.push_to_talk()
        assert not await turn(client)
        assert 0 < len(sound(client.events)) < len(SOUND)
        client.events.clear()
        assert not await turn(client)
        assert client.events == []
        assert client.channel.closed is None


async def test_a_cancel_is_heard_late(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, brain=ScriptedBrain(sound=tone(10_000)), faults=once("slow-cancel")) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        await client.until(*AUDIO)
        client.events.clear()
        began = trio.current_time()
        await client.send("response.cancel")
        assert (await client.until("response.done"))["response"]["status"] == "cancelled"
        assert trio.current_time() - began == pytest.approx(1.0, abs=0.1)
        assert len(sound(client.events)) > 4 * 48_000  # 1 s at five times its speed


async def test_committed_without_its_item(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, brain=brain(), faults=once("item-id-missing")) as client:
        await client.push_to_talk()
        await client.append(tone(300))
        await client.send("input_audio_buffer.commit")
        assert "item_id" not in await client.until("input_audio_buffer.committed")


VALID = [name for name, _ in ENDS] + [name for name, _, _ in CUTS]
VALID += ["odd-bytes", "text-only-answer", "second-response-done", "duplicate-event", "null-code-error"]
VALID += ["update-rejected", "answers-by-itself", "late-rate-limits"]


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("kind", VALID)
async def test_what_is_said_is_of_the_packages_types(autojump_clock: MockClock, dialect: Dialect, kind: str) -> None:
    types = {Dialect.GA: ga_types, Dialect.BETA: beta_types}[dialect]
    adapter: TypeAdapter[Any] = TypeAdapter(types.RealtimeServerEvent)
    async with connected(autojump_clock, dialect, brain(), faults=once(kind)) as client:
        await use(client)
    for event in client.events:
        parsed = adapter.validate_python(event, strict=True)
        assert parsed.model_dump(exclude_unset=True) == event
        assert parsed.type == event["type"]


class Recorded:
    """A channel that hears nothing and keeps what it is told."""

    def __init__(self, slow_to_close: bool = False) -> None:
        self.slow_to_close = slow_to_close
        self.sent: list[str | bytes] = []
        self.heard, self.hearing = trio.open_memory_channel[str](10)

    async def send(self, message: str | bytes) -> None:
        self.sent.append(message)

    async def receive(self) -> str:
        return await self.hearing.receive()

    async def close(self, code: int, reason: str) -> None:
        if self.slow_to_close:
            await trio.testing.wait_all_tasks_blocked()
        self.sent.append(f"close {code}")


async def test_a_fault_that_closes_ends_the_conversation_for_the_server_too() -> None:
    for direction in ("send", "receive"):
        channel = Recorded()
        faulty = FaultyChannel(channel, once("close-1011"), Dialect.GA)
        await channel.heard.send('{"type":"input_audio_buffer.append","audio":""}')
        with pytest.raises(ChannelClosed):
            await (faulty.send('{"type":"session.updated"}') if direction == "send" else faulty.receive())
        assert channel.sent == ["close 1011"]


async def test_a_close_is_the_last_fault() -> None:
    witness = Witness()
    channel = Recorded(slow_to_close=True)
    faulty = FaultyChannel(channel, FaultScript([Rule("close-1011")]), Dialect.GA, witness)
    await channel.heard.send('{"type":"input_audio_buffer.append","audio":""}')
    with pytest.RaisesGroup(ChannelClosed):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faulty.send, '{"type":"session.updated"}')
            nursery.start_soon(faulty.receive)
    assert channel.sent == ["close 1011"]
    assert len(witness.faults) == 1


async def test_what_is_no_event_is_passed_on_for_the_conversation_to_refuse() -> None:
    channel = Recorded()
    faulty = FaultyChannel(channel, FaultScript([]), Dialect.GA)
    for message in ("{", "[]", '"x"'):
        await channel.heard.send(message)
        assert await faulty.receive() == message


def test_a_phase_follows_the_question_and_not_the_answer_before_it() -> None:
    tracker = PhaseTracker()
    ask = [{"type": "input_audio_buffer.commit"}, {"type": "response.create"}]
    steps = [
        (tracker.server, [{"type": "session.created"}], Phase.SETUP),
        (tracker.server, [{"type": "session.updated"}], Phase.IDLE),
        (tracker.client, [{"type": "input_audio_buffer.append"}], Phase.LISTENING),
        (tracker.client, [{"type": "input_audio_buffer.clear"}], Phase.IDLE),
        (tracker.client, [{"type": "input_audio_buffer.append"}], Phase.LISTENING),
        (tracker.client, ask, Phase.ASKED),
        (tracker.server, [{"type": "response.created", "response": {"id": "1"}}], Phase.ASKED),
        (tracker.server, [{"type": "response.audio.delta", "response_id": "1"}], Phase.ANSWERING),
        (tracker.client, [{"type": "response.cancel"}, {"type": "input_audio_buffer.append"}], Phase.LISTENING),
        (tracker.client, ask, Phase.ASKED),
        (tracker.server, [{"type": "response.audio.delta", "response_id": "1"}], Phase.ASKED),
        (tracker.server, [{"type": "response.done", "response": {"id": "1"}}], Phase.ASKED),
        (tracker.server, [{"type": "response.output_audio.delta", "response_id": "2"}], Phase.ANSWERING),
        (tracker.server, [{"type": "response.done", "response": {"id": "2"}}], Phase.IDLE),
        (tracker.server, [{"type": "response.created", "response": {"id": "3"}}], Phase.ASKED),
    ]
    for number, (tell, events, expected) in enumerate(steps):
        for event in events:
            tell(event)
        assert tracker.phase is expected, number
