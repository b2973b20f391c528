"""The toolbox: what is offered, what is done once only, and what the kiosk itself can do."""

import json
from datetime import UTC, datetime
from typing import ClassVar

import pytest
import trio
from attrs import evolve
from tool_parts import HANGS, TEXT, Trace, call, toolbox

from kioskd.config.schema import Audio, Endpoint, Night, Settings
from kioskd.config.tool_schema import BuiltIn, ToolRunner, Tools
from kioskd.dialogue import effects as f
from kioskd.dialogue.events import AnswerEnded, Ending, Speaker, Transcript
from kioskd.tools.arguments import BadArgumentsError
from kioskd.tools.built_in import OwnTools
from kioskd.tools.command import NobodyKnowsError, NotStartedError, Ran
from kioskd.tools.runner import NoRunner, ServiceRunner, runner_for
from kioskd.tools.toolbox import KioskTools

SETTINGS = Settings((Endpoint("a", "wss://a/", "m"),))


class Slow:
    """A runner that takes its time; `fails`: how each run ends, in order."""

    checks = False

    def __init__(self, *fails):
        self.runs = []
        self.ended = 0
        self._fails = list(fails)

    async def run(self, action, arguments):
        self.runs.append(arguments)
        await trio.sleep(5)
        self.ended += 1
        if self._fails and (failure := self._fails.pop(0)):
            raise failure
        return Ran(0, json.dumps({"n": self.ended}))


def door(tmp_path, **fields):
    return Trace(tmp_path).action("door", TEXT, **fields)


async def test_an_action_that_changes_something_runs_once_a_turn_and_its_result_is_given_again(
    autojump_clock, tmp_path, caplog
):
    runner = Slow()
    box = toolbox(door(tmp_path), runner=runner)
    one = await box.call(1, call("door", '{"text": "a"}'))
    again = await box.call(1, call("door", '{ "text" : "\\u0061" }', "call_of_another_endpoint"))
    assert json.loads(one) == json.loads(again) == {"result": {"n": 1}}
    await box.call(1, call("door", {"text": "b"}))
    await box.call(2, call("door", {"text": "a"}))
    assert [json.loads(run)["text"] for run in runner.runs] == ["a", "b", "a"]


async def test_a_cut_answer_that_is_asked_again_or_continued_is_the_same_question(autojump_clock, tmp_path):
    runner = Slow()
    box = toolbox(door(tmp_path), runner=runner)
    for effect in (f.Ask(1), f.AskAgain(2, 1), f.ContinueAnswer(3), f.Ask(4)):
        box(effect, 0.0)
        await box.call(effect.turn, call("door", {"text": "a"}))
    assert len(runner.runs) == 2, "once for turns 1 to 3, once for turn 4"


async def test_a_number_is_the_same_number_however_it_is_written(autojump_clock, tmp_path):
    runner = Slow()
    box = toolbox(Trace(tmp_path).action("door", {"type": "object"}), runner=runner)
    for text in ('{"s": 1, "more": [2.0]}', '{"more":[2],"s":1.0}', '{"s": 1e0, "more": [2]}'):
        assert json.loads(await box.call(1, call("door", text))) == {"result": {"n": 1}}
    await box.call(1, call("door", '{"s": true, "more": [2]}'))
    assert len(runner.runs) == 2


@pytest.mark.parametrize("again", [f.AskAgain(2, 1), f.ContinueAnswer(2)])
async def test_a_model_that_is_asked_again_and_words_its_call_otherwise_is_told_what_was_done(
    autojump_clock, tmp_path, again
):
    runner = Slow()
    box = toolbox(door(tmp_path), runner=runner)
    box(f.Ask(1), 0.0)
    await box.call(1, call("door", {"text": "left"}))
    await box.call(1, call("door", {"text": "right"}))
    box(again, 0.0)
    told = json.loads(await box.call(2, call("door", {"text": "Left, please"})))
    assert (told["result"], told["arguments"]) == ({"n": 2}, {"text": "right"}) and "not called twice" in told["note"]
    assert json.loads(await box.call(2, call("door", {"text": "left"}))) == {"result": {"n": 1}}
    assert len(runner.runs) == 2
    box(f.Ask(3), 0.0)
    await box.call(3, call("door", {"text": "Left, please"}))
    assert len(runner.runs) == 3


async def test_a_turn_asked_anew_while_a_call_runs_makes_no_other_one_of_its_name(autojump_clock, nursery, tmp_path):
    runner = Slow()
    box = toolbox(door(tmp_path), runner=runner)
    nursery.start_soon(box.run)
    await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(1):
        await box.call(1, call("door", {"text": "a"}))
    told = json.loads(await box.call(1, call("door", {"text": "the same in other words"})))
    assert told["arguments"] == {"text": "a"} and len(runner.runs) == 1


async def test_one_that_changes_nothing_runs_each_time(autojump_clock, tmp_path):
    runner = Slow()
    box = toolbox(door(tmp_path, side_effects=False), runner=runner)
    for _ in range(3):
        await box.call(1, call("door", {"text": "a"}))
    assert len(runner.runs) == 3


async def test_a_connection_that_goes_away_neither_stops_a_command_nor_runs_it_twice(autojump_clock, nursery, tmp_path):
    runner = Slow()
    box = toolbox(door(tmp_path), runner=runner)
    nursery.start_soon(box.run)
    await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(1):
        await box.call(1, call("door", {"text": "a"}))
    assert json.loads(await box.call(1, call("door", {"text": "a"}))) == {"result": {"n": 1}}
    assert trio.current_time() == pytest.approx(5), "the second asker waits for the first one's run"
    assert (len(runner.runs), runner.ended) == (1, 1)


async def test_what_was_not_started_may_be_tried_again_and_what_nobody_knows_may_not(autojump_clock, tmp_path):
    runner = Slow(NotStartedError("no runner"), NobodyKnowsError("broke off"))
    box = toolbox(door(tmp_path), runner=runner)
    said = [json.loads(await box.call(1, call("door", {"text": "a"}))) for _ in range(3)]
    assert said == [{"error": "it can't be done now"}] + [{"error": "nobody knows whether it was done"}] * 2
    assert len(runner.runs) == 2


async def test_a_call_that_is_cancelled_where_nothing_outlives_it_is_not_made_again(autojump_clock, tmp_path):
    runner = Slow()
    box = toolbox(door(tmp_path), runner=runner)
    with trio.move_on_after(1):
        await box.call(1, call("door", {"text": "a"}))
    assert "error" in json.loads(await box.call(1, call("door", {"text": "a"})))
    assert len(runner.runs) == 1


@pytest.mark.parametrize(
    ("ran", "told"),
    [
        (Ran(0, '{"x": 1}\n'), {"result": {"x": 1}}),
        (Ran(0, "plain words\n"), {"result": "plain words\n"}),
        (Ran(0, ""), {"result": ""}),
        (Ran(0, "NaN"), {"result": "NaN"}),
        (Ran(0, "x" * 9, truncated=True), {"result": "x" * 9, "truncated": True}),
        (Ran(3, "no paper"), {"error": "it failed (exit code 3)", "output": "no paper"}),
        (Ran(-9, "", timed_out=True), {"error": "it took longer than 8 s and was stopped"}),
    ],
)
async def test_what_the_model_is_told(ran, told, tmp_path):
    class Runner:
        checks = False

        async def run(self, action, arguments):
            return ran

    assert json.loads(await toolbox(door(tmp_path), runner=Runner()).call(1, call("door", {"text": "a"}))) == told


async def test_it_never_raises(tmp_path):
    class Broken:
        checks = False

        async def run(self, action, arguments):
            raise ZeroDivisionError

    result = await toolbox(door(tmp_path), runner=Broken()).call(1, call("door", {"text": "a"}))
    assert json.loads(result) == {"error": "it failed"}


async def test_a_runner_that_checks_keeps_the_owners_patterns_out_of_the_loop(tmp_path, caplog):
    class Checking:
        checks = True
        verdicts: ClassVar = [BadArgumentsError("text: too odd", "text: pattern"), None]

        async def run(self, action, arguments):
            if verdict := self.verdicts.pop(0):
                raise verdict
            return Ran(0, "7")

    box = toolbox(Trace(tmp_path).action("note", HANGS), runner=Checking())
    given = call("note", {"text": "a" * 40 + "!"})  # its pattern would not come back from this
    assert json.loads(await box.call(1, given)) == {"error": "the arguments are refused: text: too odd"}
    assert "turn 1: refused: the arguments of note: text: pattern" in caplog.text
    assert json.loads(await box.call(1, given)) == {"result": 7}, "nothing was done: it may be tried again"
    assert "error" in json.loads(await box.call(1, call("note", "[]"))), "what takes no time is checked here"


def test_a_service_starts_no_children():
    assert isinstance(runner_for(ToolRunner.CHILD, {"NOTIFY_SOCKET": "/run/systemd/notify"}), NoRunner)
    assert isinstance(runner_for(ToolRunner.SERVICE, {}), ServiceRunner)


async def test_the_service_is_asked_at_the_socket_of_its_kind(tmp_path, nursery):
    asked = []

    async def answer(kind, stream):
        asked.append((kind, await stream.receive_some()))
        reply = {"ok": True, "code": 0, "output": "7", "truncated": False, "timed_out": False}
        await stream.send_all(json.dumps(reply).encode()[: None if kind == "net" else 9] + b"\n")
        await stream.aclose()

    for kind in ("quiet", "net"):
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(str(tmp_path / kind))
        listener.listen()
        serve = trio.SocketListener(listener)
        nursery.start_soon(trio.serve_listeners, lambda stream, kind=kind: answer(kind, stream), [serve])
    runner = ServiceRunner(tmp_path / "quiet", tmp_path / "net")
    action = door(tmp_path)
    assert (await runner.run(evolve(action, network=True), '{"text":"a"}')).output == "7"
    with pytest.raises(NobodyKnowsError):
        await runner.run(action, '{"text":"a"}')
    assert [(kind, json.loads(line)) for kind, line in asked] == [
        (kind, {"name": "door", "arguments": {"text": "a"}}) for kind in ("net", "quiet")
    ]
    with pytest.raises(NotStartedError, match=r"systemctl status gone\.socket"):
        await ServiceRunner(tmp_path / "gone").run(action, "{}")


@pytest.mark.parametrize(
    ("reply", "failure", "words"),
    [
        ({"ok": False, "refused": "n: too large", "place": "n: maximum"}, BadArgumentsError, "^n: too large$"),
        ({"ok": False, "error": "no such action"}, NotStartedError, "no such action"),
        ({"ok": False}, NobodyKnowsError, "broke off"),
        ({"ok": True}, NobodyKnowsError, "broke off"),
    ],
)
async def test_what_the_helper_answers_instead_of_running(tmp_path, nursery, reply, failure, words):
    async def answer(stream):
        await stream.receive_some()
        await stream.send_all(json.dumps(reply).encode() + b"\n")
        await stream.aclose()

    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(tmp_path / "quiet"))
    listener.listen()
    nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(listener)])
    assert ServiceRunner.checks
    with pytest.raises(failure, match=words):
        await ServiceRunner(tmp_path / "quiet").run(door(tmp_path), "{}")


# Settings


async def test_other_settings_count_for_the_next_offer(tmp_path):
    box = toolbox(door(tmp_path))
    assert [offer.name for offer in box.offers] == ["door"]
    box.adjust(evolve(SETTINGS, tools=Tools(actions=(evolve(door(tmp_path), name="gate"),))))
    assert [offer.name for offer in box.offers] == ["gate"]
    assert "error" in json.loads(await box.call(1, call("door", {"text": "a"})))


async def test_the_action_of_structured_answers_is_not_offered_and_takes_an_answer(tmp_path):
    trace = Trace(tmp_path)
    screen = trace.action("screen")
    box = toolbox(screen, answer_schema=TEXT, answer_action="screen", answer_spoken="text")
    assert box.offers == ()
    assert (box.structured.schema, box.structured.spoken) == (TEXT, "text")
    await box.answer(1, '{"text": "hello"}')
    await box.answer(2, '{"spoken": "hello"}')
    assert [json.loads(run["stdin"]) for run in trace.runs] == [{"text": "hello"}]


async def test_a_model_that_calls_the_action_of_structured_answers_calls_nothing(tmp_path, caplog):
    trace = Trace(tmp_path)
    box = toolbox(trace.action("screen"), answer_schema=TEXT, answer_action="screen", answer_spoken="text")
    assert json.loads(await box.call(1, call("screen", {"text": "hello"}))) == {"error": "there is no such tool"}
    assert trace.runs == [] and "don't declare" in caplog.text


async def test_an_answer_whose_action_has_gone_from_the_settings_is_told_in_the_log(tmp_path, caplog):
    await toolbox(door(tmp_path)).answer(3, '{"text": "hello"}')
    (record,) = caplog.records
    assert record.getMessage().startswith("turn 3: an answer goes nowhere")


# Built in


class Kiosk:
    """What the daemon lends."""

    def __init__(self, audio=None, *wanted):
        self.settings = evolve(SETTINGS, audio=audio or Audio())
        self.heard, self.goodbyes = [], []
        now = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
        self.own = OwnTools(
            self.settings, lambda given: self.heard.append(given.audio), self.goodbyes.append, lambda: now
        )
        self.box = KioskTools(Tools(built_in=wanted or tuple(BuiltIn)), lambda _: NoRunner("none"), self.own.tools)

    async def call(self, name, **given):
        return json.loads(await self.box.call(1, call(name, given)))


async def test_the_volume_is_the_visitors_until_the_visitor_has_gone():
    kiosk = Kiosk(Audio(volume=80, volume_ceiling=70, night=Night(volume=20)))
    assert await kiosk.call("set_volume", percent=90) == {"result": {"percent": 70}}
    assert (kiosk.heard[-1].volume, kiosk.heard[-1].night, kiosk.heard[-1].volume_ceiling) == (70, None, 70)
    for percent in (0, 9, 101, "50"):
        assert "error" in await kiosk.call("set_volume", percent=percent)
    kiosk.own(f.ForgetVisitor(), 0.0)
    assert kiosk.heard[1:] == [kiosk.settings.audio]
    kiosk.own(f.ForgetVisitor(), 0.0)
    assert len(kiosk.heard) == 2, "nothing to take back"


async def test_the_time_and_the_goodbye():
    kiosk = Kiosk()
    assert await kiosk.call("current_time") == {"result": {"time": "2026-11-21T09:05+00:00", "weekday": "Saturday"}}
    assert "result" in await kiosk.call("end_conversation")
    assert kiosk.goodbyes == [1]


async def test_the_last_answer_is_the_one_before_this_question():
    kiosk = Kiosk()
    assert await kiosk.call("repeat_last") == {"error": "there is no answer yet"}
    for what in (
        f.Ask(1),
        Transcript(1, Speaker.VISITOR, "When?"),
        Transcript(1, Speaker.KIOSK, "We open at nine."),
        Transcript(1, Speaker.KIOSK, "Every day."),
        AnswerEnded(1, Ending.COMPLETE),
        f.Ask(2),
        Transcript(2, Speaker.KIOSK, "Well,"),
    ):
        kiosk.own(what, 0.0)
    assert await kiosk.call("repeat_last") == {"result": {"say_exactly_this_again": "We open at nine. Every day."}}
    kiosk.own(f.ForgetVisitor(), 0.0)
    assert "error" in await kiosk.call("repeat_last")


def test_only_what_the_owner_wants_is_offered():
    assert [offer.name for offer in Kiosk(None, BuiltIn.CURRENT_TIME).box.offers] == ["current_time"]
