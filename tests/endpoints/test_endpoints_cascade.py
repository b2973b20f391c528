"""Voice around a text model: what is heard when, what stops what, and what the history is told of it."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from attrs import define, field
from fake_peer import utterance

from kioskd.config.schema import Conversation
from kioskd.dialogue.events import Speaker, Usage
from kioskd.endpoints import cascade
from kioskd.endpoints.answering import Finished, Heard, Question, Sound, Words
from kioskd.endpoints.cascade import CHARACTERS_MAX, LOOK_AHEAD, SPEECH_TRIES, Cascade
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text.model import Delta, Finish, Message, ModelError, Role
from kioskd.endpoints.toolbox import CALLS_MAX, ROUNDS_MAX, Structured, ToolCall, ToolOffer
from kioskd.endpoints.voice.hearing import LocalEars
from kioskd.endpoints.voice.speech import LocalVoice
from kioskd.realtime.replay import CONTINUE, Said

FIRST, SECOND, THIRD = "The exit is on the left. ", "The desk is on the right. ", "The stairs are behind you. "
LOST = ModelError(Failure(Kind.LOST, "gone"))
BROKEN = ModelError(Failure(Kind.ERROR, "broken", status=500))
REFUSED = ModelError(Failure(Kind.ERROR, "no", status=401))


@define(eq=False, slots=False)
class World:
    """What has happened, in its order, each with its time on the virtual clock."""

    log: list = field(factory=list)
    running: set = field(factory=set)

    def note(self, *what):
        self.log.append((trio.current_time(), *what))

    @property
    def names(self):
        return [" ".join(map(str, what[1:])) for what in self.log]

    def at(self, name):
        return next(what[0] for what in self.log if " ".join(map(str, what[1:])) == name)


@define(eq=False, slots=False)
class Part:
    """What ears, model and voice have in common."""

    world: World
    check_fails: ModelError | None = None

    async def run(self):
        await trio.sleep_forever()

    async def check(self):
        if self.check_fails:
            raise self.check_fails


@define(eq=False, slots=False)
class Ears(Part):
    text: str = "Where is the exit?"
    takes_s: float = 1.0
    fails: list = field(factory=list)

    async def transcribe(self, utterance, partial):
        self.world.note("hear", utterance.turn)
        self.world.running.add("ears")
        try:
            await trio.sleep(self.takes_s)
        finally:
            self.world.running.discard("ears")
        if self.fails:
            raise self.fails.pop(0)
        return self.text


@define(eq=False, slots=False)
class Model(Part):
    """Each of its answers is a list of: texts, seconds to wait, events, an exception, and a Finish at the end."""

    script: list = field(factory=list)
    requests: list = field(factory=list)
    forgotten: int = 0

    async def answer(self, request, take):
        self.requests.append(request)
        self.world.note("ask")
        self.world.running.add("model")
        try:
            for step in self.script.pop(0):
                match step:
                    case float():
                        await trio.sleep(step)
                    case str():
                        take(Delta(step))
                    case ModelError():
                        raise step
                    case Finish():
                        self.world.note("written")
                        return step
                    case _:
                        take(step)
            return Finish.WHOLE
        finally:
            self.world.running.discard("model")

    def forget(self):
        self.forgotten += 1


@define(eq=False, slots=False)
class Voice(Part):
    """Speaks each text in `pieces` pieces, one every `piece_s`. `fails`: by the beginning of a text, what it does."""

    pieces: int = 2
    piece_s: float = 0.5
    fails: dict = field(factory=dict)
    most: int = 0

    async def speak(self, text, take):
        self.world.note("speak", text)
        self.world.running.add(text)
        self.most = max(self.most, len(self.world.running - {"model", "ears"}))
        failures = next((f for start, f in self.fails.items() if text.startswith(start)), [])
        after, failure = failures.pop(0) if failures else (self.pieces, None)
        try:
            for number in range(self.pieces):
                if number == after:
                    break
                await trio.sleep(self.piece_s)
                take(f"<{text}#{number}>".encode())
            if failure:
                raise failure
        finally:
            self.world.running.discard(text)


@define(eq=False, slots=False)
class Tools:
    world: World
    offers: tuple = (ToolOffer("lights", "Switches the lights", {"type": "object"}),)
    calls: list = field(factory=list)
    answers: list = field(factory=list)
    takes_s: float = 0.0
    structured: Structured | None = None

    async def call(self, turn, call):
        self.calls.append((turn, call))
        await trio.sleep(self.takes_s)
        return '{"done": true}'

    async def answer(self, turn, text):
        self.answers.append((turn, text))


@define(eq=False, slots=False)
class Stage:
    world: World = field(factory=World)
    events: list = field(factory=list)

    def __attrs_post_init__(self):
        self.ears, self.model, self.voice = Ears(self.world), Model(self.world), Voice(self.world)
        self.tools = None

    def make(self):
        parts = (self.ears, self.model, self.voice, Conversation(instructions="Be brief."))
        self.cascade = Cascade(*parts, self.tools, jitter=lambda: 0.0)
        return self.cascade

    def take(self, event):
        self.events.append(event)
        if isinstance(event, Sound):
            self.world.note("heard", event.pcm.decode())

    async def answer(self, *script, said=(), turn=1, sound=True, heard=""):
        self.model.script += [list(steps) for steps in script]
        answerer = getattr(self, "cascade", None) or self.make()
        return await answerer.answer(Question(turn, utterance(turn) if sound else None, said, heard), self.take)

    @property
    def words(self):
        return [event.text for event in self.events if isinstance(event, Words)]

    @property
    def sounds(self):
        return [event.pcm.decode() for event in self.events if isinstance(event, Sound)]


def sounds_of(*texts, pieces=2):
    return [f"<{text.strip()}#{number}>" for text in texts for number in range(pieces)]


@pytest.fixture
def stage():
    return Stage()


async def test_a_question_is_heard_answered_and_spoken_in_order(stage, autojump_clock):
    finished = await stage.answer([FIRST, SECOND, THIRD, Usage(1, 5, 0, 0, 0, 7), Finish.WHOLE])
    assert finished is Finished.COMPLETE
    assert stage.events[0] == Heard("Where is the exit?")
    assert stage.sounds == sounds_of(FIRST, SECOND, THIRD)
    assert "".join(stage.words) == FIRST + SECOND + THIRD
    assert stage.events[-1] == Usage(1, 5, 0, 0, 0, 7)
    (request,) = stage.model.requests
    assert request.turn == 1 and request.instructions == "Be brief." and request.tools == ()
    assert request.messages == (Message(Role.VISITOR, "Where is the exit?"),)


async def test_the_first_sentence_is_heard_while_the_rest_is_still_being_written(stage, autojump_clock):
    await stage.answer([FIRST, SECOND, 10.0, THIRD, Finish.WHOLE])
    names = stage.world.names
    first_sound = names.index(f"heard <{FIRST.strip()}#0>")
    assert first_sound < names.index("written")
    assert stage.world.at(f"heard <{FIRST.strip()}#0>") == stage.world.at("ask") + 0.5
    assert stage.world.at("written") == stage.world.at("ask") + 10


async def test_the_next_sentence_is_asked_for_while_one_is_heard_and_not_more(stage, autojump_clock):
    stage.voice.piece_s = 5.0
    await stage.answer([FIRST, SECOND, THIRD, FIRST, SECOND, Finish.WHOLE])
    world = stage.world
    assert world.at(f"speak {SECOND.strip()}") < world.at(f"heard <{FIRST.strip()}#0>")
    assert world.at(f"speak {THIRD.strip()}") >= world.at(f"heard <{FIRST.strip()}#1>")
    assert stage.voice.most == LOOK_AHEAD
    assert stage.sounds == sounds_of(FIRST, SECOND, THIRD, FIRST, SECOND)


async def test_a_sentence_that_is_ready_early_waits_for_the_one_before(stage, autojump_clock):
    async def speak(text, take):
        await trio.sleep(20.0 if text.startswith("The exit") else 0.1)
        take(text.encode())

    stage.voice.speak = speak
    await stage.answer([FIRST, SECOND, THIRD, Finish.WHOLE])
    assert stage.sounds == [FIRST.strip(), SECOND.strip(), THIRD.strip()]


async def test_words_are_told_with_their_sound_and_not_before(stage, autojump_clock):
    stage.voice.piece_s = 5.0
    await stage.answer([FIRST, SECOND, Finish.WHOLE])
    order = [event.text if isinstance(event, Words) else "sound" for event in stage.events[1:]]
    assert order == [FIRST.strip(), "sound", "sound", " " + SECOND.strip(), "sound", "sound", " "]


@pytest.mark.parametrize(
    ("after_s", "busy"),
    [(0.5, {"ears"}), (3.0, {"model"}), (6.2, {"model", FIRST.strip(), SECOND.strip()}), (100.0, {THIRD.strip()})],
)
async def test_a_barge_in_stops_all_of_it_at_once(stage, autojump_clock, after_s, busy):
    stage.voice.piece_s = 50.0
    began = trio.current_time()
    with trio.move_on_after(after_s) as scope:
        await stage.answer([5.0, FIRST, SECOND, "The ", 1.0, THIRD, Finish.WHOLE])
    assert scope.cancelled_caught
    assert trio.current_time() == began + after_s
    assert stage.world.running == set()
    happened = len(stage.world.log)
    await trio.sleep(1000)
    assert len(stage.world.log) == happened


async def test_what_is_running_when_it_is_barged_in_is_what_the_test_above_says(stage, autojump_clock):
    stage.voice.piece_s = 50.0
    seen = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.answer, [5.0, FIRST, SECOND, "The ", 1.0, THIRD, Finish.WHOLE])
        for at in (0.5, 3.0, 6.2, 100.5):
            await trio.sleep(at - trio.current_time())
            seen[at] = set(stage.world.running)
        nursery.cancel_scope.cancel()
    assert seen[0.5] == {"ears"} and seen[3.0] == {"model"}
    assert seen[6.2] == {"model", FIRST.strip(), SECOND.strip()}


async def test_what_was_not_understood_is_no_question(stage, autojump_clock):
    stage.ears.text = " … "
    assert await stage.answer([FIRST, Finish.WHOLE]) is Finished.COMPLETE
    assert stage.events == [] and stage.model.requests == []


async def test_a_question_that_is_asked_again_is_heard_once(stage, autojump_clock):
    with pytest.raises(ModelError):
        await stage.answer([BROKEN])
    (heard,) = stage.events
    await stage.answer([FIRST, Finish.WHOLE], heard=heard.text)
    await stage.answer([FIRST, Finish.WHOLE], turn=2)
    assert [name for name in stage.world.names if name.startswith("hear ")] == ["hear 1", "hear 2"]
    assert stage.events.count(Heard("Where is the exit?")) == 3


async def test_what_could_not_be_heard_is_heard_anew(stage, autojump_clock):
    stage.ears.fails = [LOST]
    with pytest.raises(ModelError):
        await stage.answer([])
    stage.model.script.clear()
    assert await stage.answer([FIRST, Finish.WHOLE]) is Finished.COMPLETE


async def test_the_history_goes_along(stage, autojump_clock):
    said = [
        Said(Speaker.VISITOR, "Hello"),
        Said(Speaker.KIOSK, "Good day."),
        Said(Speaker.VISITOR, pcm=b"\0\0"),
        Said(Speaker.KIOSK, "As you like."),
    ]
    await stage.answer([FIRST, Finish.WHOLE], said=said)
    roles = [(message.role, message.text) for message in stage.model.requests[0].messages]
    assert roles == [
        (Role.VISITOR, "Hello"),
        (Role.KIOSK, "Good day."),
        (Role.VISITOR, cascade.UNWRITTEN),
        (Role.KIOSK, "As you like."),
        (Role.VISITOR, "Where is the exit?"),
    ]


async def test_the_rest_of_an_answer_is_asked_for_in_words(stage, autojump_clock):
    said = [Said(Speaker.VISITOR, "Hello"), Said(Speaker.KIOSK, "Good … [cut off]")]
    await stage.answer([FIRST, Finish.WHOLE], said=said, sound=False)
    assert stage.model.requests[0].messages[-1] == Message(Role.VISITOR, CONTINUE)
    assert "hear 1" not in stage.world.names and not any(isinstance(event, Heard) for event in stage.events)


async def test_of_a_cut_answer_what_came_is_spoken(stage, autojump_clock):
    assert await stage.answer([FIRST, "The desk is", Finish.CUT]) is Finished.CUT
    assert stage.sounds == sounds_of(FIRST, "The desk is")
    assert "".join(stage.words) == FIRST + "The desk is"


async def test_a_model_that_fails_in_mid_answer_is_spoken_as_far_as_it_came(stage, autojump_clock):
    with pytest.raises(ModelError) as caught:
        await stage.answer([FIRST, SECOND, BROKEN])
    assert caught.value is BROKEN
    assert stage.sounds == sounds_of(FIRST, SECOND)


async def test_a_model_that_fails_before_it_began_is_a_failure(stage, autojump_clock):
    for failure in (BROKEN, LOST):
        with pytest.raises(ModelError) as caught:
            await stage.answer([failure])
        assert caught.value is failure


async def test_a_sentence_that_fails_before_its_first_sound_is_tried_again(stage, autojump_clock):
    stage.voice.fails = {"The desk": [(0, BROKEN), (0, LOST)]}
    assert await stage.answer([FIRST, SECOND, THIRD, Finish.WHOLE]) is Finished.COMPLETE
    assert stage.sounds == sounds_of(FIRST, SECOND, THIRD)
    assert stage.world.names.count(f"speak {SECOND.strip()}") == 3


async def test_it_is_not_tried_for_ever(stage, autojump_clock):
    stage.voice.fails = {"The exit": [(0, BROKEN)] * 10}
    with pytest.raises(ModelError) as caught:
        await stage.answer([FIRST, SECOND, 500.0, Finish.WHOLE])
    assert caught.value is BROKEN and stage.world.running == set()
    assert stage.world.names.count(f"speak {FIRST.strip()}") == SPEECH_TRIES
    assert trio.current_time() < 20 and stage.sounds == [] and stage.words == []


@pytest.mark.parametrize(
    "failure", [REFUSED, ModelError(Failure(Kind.ERROR, "later", status=429, retry_after_s=60))], ids=["key", "wait"]
)
async def test_what_no_moment_mends_is_not_tried_again(stage, autojump_clock, failure):
    stage.voice.fails = {"The exit": [(0, failure)]}
    with pytest.raises(ModelError) as caught:
        await stage.answer([FIRST, Finish.WHOLE])
    assert caught.value is failure
    assert stage.world.names.count(f"speak {FIRST.strip()}") == 1


@pytest.mark.parametrize(("failure", "is_cut"), [(LOST, True), (REFUSED, False)])
async def test_speech_that_breaks_off_lets_those_before_it_be_heard(stage, autojump_clock, failure, is_cut):
    stage.voice.piece_s = 3.0
    stage.voice.fails = {"The exit": [(2, None)], "The desk": [(1, failure)]}
    script = [FIRST, SECOND, THIRD, 500.0, Finish.WHOLE]
    if is_cut:
        assert await stage.answer(script) is Finished.CUT
    else:
        with pytest.raises(ModelError):
            await stage.answer(script)
    assert stage.sounds == [*sounds_of(FIRST), f"<{SECOND.strip()}#0>"]
    assert "".join(stage.words).strip() == (FIRST + SECOND).strip()
    assert stage.world.running == set() and trio.current_time() < 100


async def test_the_second_sentence_failing_first_does_not_cut_the_first(stage, autojump_clock):
    stage.voice.piece_s = 30.0
    stage.voice.fails = {"The desk": [(0, REFUSED)]}
    with pytest.raises(ModelError):
        await stage.answer([FIRST, SECOND, Finish.WHOLE])
    assert stage.sounds == sounds_of(FIRST)


async def test_words_that_nobody_can_say_are_not_spoken_and_not_lost(stage, autojump_clock):
    text = "***\n\n" + FIRST + "\n\n---\n"
    await stage.answer([text, Finish.WHOLE])
    assert stage.sounds == sounds_of(FIRST)
    assert "".join(stage.words) == text


async def test_half_a_character_is_not_passed_on(stage, autojump_clock):
    await stage.answer(["The exit is \ud83d", "\ude00 on the left.", Finish.WHOLE])
    "".join(stage.words).encode()
    assert stage.words[0].startswith("The exit is")


async def test_an_endless_answer_ends(stage, autojump_clock):
    assert await stage.answer([FIRST] * CHARACTERS_MAX) is Finished.TRUNCATED
    assert len("".join(stage.words)) <= CHARACTERS_MAX
    assert len("".join(stage.words)) > CHARACTERS_MAX - len(FIRST)
    assert stage.world.running == set()


CALL = ToolCall("call_1", "lights", '{"on": true}')


async def test_a_tool_is_called_and_its_result_is_told(stage, autojump_clock):
    stage.tools = Tools(stage.world)
    rounds = [
        ["Just a moment please.", CALL, Usage(1, 5, 0, 1, 0, 7), Finish.TOOL_CALLS],
        [FIRST, Usage(1, 9, 0, 0, 0, 2)],
    ]
    assert await stage.answer(*rounds) is Finished.COMPLETE
    assert stage.tools.calls == [(1, CALL)]
    second = stage.model.requests[1]
    assert second.tools == stage.tools.offers == stage.model.requests[0].tools
    assert second.messages == (
        Message(Role.VISITOR, "Where is the exit?"),
        Message(Role.KIOSK, "Just a moment please.", calls=(CALL,)),
        Message(Role.VISITOR, '{"done": true}', answers_call="call_1"),
    )
    assert [event for event in stage.events if isinstance(event, Usage)] == [Usage(1, 14, 0, 1, 0, 9)]
    assert stage.sounds == sounds_of("Just a moment please.", FIRST)


async def test_what_is_said_before_a_tool_is_heard_while_it_runs(stage, autojump_clock):
    stage.tools = Tools(stage.world, takes_s=30.0)
    await stage.answer(["Just a moment please.", CALL, Finish.TOOL_CALLS], [FIRST])
    assert stage.world.at("heard <Just a moment please.#0>") < 10
    assert stage.world.at(f"heard <{FIRST.strip()}#0>") > 30


async def test_a_barge_in_stops_a_tool(stage, autojump_clock):
    stage.tools = Tools(stage.world, takes_s=1000.0)
    with trio.move_on_after(10):
        await stage.answer([CALL, Finish.TOOL_CALLS], [FIRST])
    assert trio.current_time() == 10 and len(stage.model.requests) == 1


async def test_a_model_that_goes_round_in_circles_is_stopped(stage, autojump_clock):
    stage.tools = Tools(stage.world)
    assert await stage.answer(*[[CALL, Finish.TOOL_CALLS]] * 20) is Finished.TRUNCATED
    assert len(stage.model.requests) == ROUNDS_MAX + 1
    many = Stage()
    many.tools = Tools(many.world)
    await many.answer([*[CALL] * 20, Finish.TOOL_CALLS], [FIRST])
    assert len(many.tools.calls) == CALLS_MAX
    assert len(many.model.requests[1].messages) == 2 + 20


async def test_a_structured_answer_goes_to_its_tool_and_one_part_of_it_is_spoken(stage, autojump_clock):
    stage.tools = Tools(stage.world, structured=Structured({"type": "object"}, "spoken"))
    text = json.dumps({"spoken": FIRST + SECOND, "page": 3})
    assert await stage.answer([text[:20], text[20:], Finish.WHOLE]) is Finished.COMPLETE
    assert stage.sounds == sounds_of(FIRST, SECOND)
    assert (stage.tools.answers, stage.tools.calls) == ([(1, text)], [])
    assert stage.model.requests[0].schema == {"type": "object"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"spoken": 3}', '{"spoken": "Hel', FIRST])
async def test_an_answer_that_is_not_what_the_schema_says_is_a_failure(stage, autojump_clock, text):
    stage.tools = Tools(stage.world, structured=Structured({"type": "object"}, "spoken"))
    with pytest.raises(ModelError):
        await stage.answer([text, Finish.WHOLE])
    assert stage.sounds == []


async def test_a_model_that_ends_before_its_first_word_is_no_lost_connection(stage, autojump_clock):
    assert await stage.answer([Finish.STOPPED]) is Finished.TRUNCATED
    assert stage.sounds == []


async def test_each_part_is_checked(stage, autojump_clock):
    await stage.make().check()
    for part in (stage.ears, stage.model, stage.voice):
        part.check_fails = REFUSED
        with pytest.raises(ModelError):
            await stage.cascade.check()
        part.check_fails = None


async def test_another_conversation_begins_everywhere(stage, autojump_clock):
    stage.make().forget()
    assert stage.model.forgotten == 1


async def test_a_structured_answer_may_stand_in_a_fence(stage, autojump_clock):
    stage.tools = Tools(stage.world, structured=Structured({"type": "object"}, "spoken"))
    assert await stage.answer(["```json\n", json.dumps({"spoken": FIRST}), "\n```", Finish.WHOLE]) is Finished.COMPLETE
    assert stage.sounds == sounds_of(FIRST)


@pytest.mark.parametrize(("finish", "kind"), [(Finish.WHOLE, Kind.SETTINGS), (Finish.CUT, Kind.LOST)])
async def test_a_structured_answer_that_was_cut_may_come_whole_the_next_time(stage, autojump_clock, finish, kind):
    stage.tools = Tools(stage.world, structured=Structured({"type": "object"}, "spoken"))
    with pytest.raises(ModelError) as caught:
        await stage.answer(['{"spoken": "Hel', finish])
    assert caught.value.failure.kind is kind


async def test_what_an_answer_has_to_be_may_change_between_two_questions(stage, autojump_clock):
    stage.tools = Tools(stage.world)
    await stage.answer([FIRST])
    stage.tools.structured = Structured({"type": "object"}, "spoken")
    await stage.answer([json.dumps({"spoken": SECOND})], turn=2)
    stage.tools.structured = None
    await stage.answer([THIRD], turn=3)
    assert [request.schema for request in stage.model.requests] == [None, {"type": "object"}, None]
    assert stage.sounds == sounds_of(FIRST, SECOND, THIRD)


async def test_new_instructions_count_from_the_next_answer_on(stage, autojump_clock):
    await stage.answer([FIRST])
    stage.cascade.conversation = Conversation(instructions="Sing.")
    await stage.answer([FIRST], turn=2)
    assert [request.instructions for request in stage.model.requests] == ["Be brief.", "Sing."]


async def test_ears_and_voice_of_this_machine(autojump_clock):
    async def hear(pcm):
        return None if not any(pcm) else "where is the exit"

    async def synthesise(text):
        if "fail" in text:
            raise RuntimeError("espeak-ng is not installed")
        return text.encode()

    ears, voice = LocalEars(hear), LocalVoice(synthesise)
    assert await ears.transcribe(utterance(1, bytes(100)), print) == ""
    assert await ears.transcribe(utterance(1, b"\1\1"), print) == "where is the exit"
    sound = []
    await voice.speak("word " * 1000 + ".", sound.append)
    assert len(sound) > 1 and all(len(piece) % 2 == 0 for piece in sound)
    assert b" ".join(sound).replace(b" ", b"").startswith(b"wordword")
    with pytest.raises(ModelError, match="espeak-ng is not installed"):
        await voice.speak("fail", sound.append)
