"""What the owner asks from afar, done by a daemon: in virtual time, without the socket."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve
from control_parts import KEY_LIKE, SETTINGS, Kiosk

from kioskd.config.schema import Audio, Echo, Log
from kioskd.control.protocol import Fields
from kioskd.control.server import RefusedError, Verb
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import State
from kioskd.endpoints.port import LinkStatus
from kioskd.local import speak
from kioskd.remote import MAX_SAY_CHARACTERS, Remote

WORDS = b"\2\0" * 4800  # 200 ms


class Desk:
    """In the place of the control socket: asks by name."""

    def __init__(self, *kiosks: Kiosk) -> None:
        self.verbs: dict[str, Verb] = {}
        self.sent: list[Fields] = []
        self.remote = Remote()
        self.remote.add_to(self)  # type: ignore[arg-type]
        for kiosk in kiosks:
            self.remote.attach(kiosk.daemon, kiosk.settings)

    def add(self, name: str, verb: Verb) -> None:
        self.verbs[name] = verb

    async def ask(self, name: str, **fields: Any) -> Any:
        async def send(line: Fields) -> None:
            self.sent.append(line)

        return await self.verbs[name].run(fields, send)

    async def refused(self, name: str, words: str, **fields: Any) -> None:
        with pytest.raises(RefusedError, match=words):
            await self.ask(name, **fields)


@pytest.fixture(autouse=True)
def speech(monkeypatch: pytest.MonkeyPatch) -> None:
    async def synthesise(text: str, language: str = "en") -> bytes:
        if text == "klingon":
            raise speak.SpeechError("espeak-ng can't speak that")
        return WORDS

    monkeypatch.setattr(speak, "synthesise", synthesise)


@pytest.fixture
def level() -> Iterator[None]:
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


async def ready(nursery: trio.Nursery, kiosk: Kiosk) -> None:
    nursery.start_soon(kiosk.daemon.run)
    await trio.testing.wait_all_tasks_blocked()
    assert kiosk.daemon.view.state is State.READY


async def test_words_are_spoken_and_heard_to_their_end(autojump_clock: trio.testing.MockClock) -> None:
    kiosk = Kiosk()
    desk = Desk(kiosk)
    async with trio.open_nursery() as nursery:
        await ready(nursery, kiosk)
        assert await desk.ask("say", text="hello") == {"turn": 1, "heard_ms": 200, "interrupted": False}
        assert kiosk.mouth.said == WORDS
        await desk.refused("say", "nothing to say", text=" ")
        await desk.refused("say", "nothing to say", text=7)
        await desk.refused("say", "can't speak", text="klingon")
        await desk.refused("say", f"{MAX_SAY_CHARACTERS} at most", text="x" * (MAX_SAY_CHARACTERS + 1))
        await desk.refused("say", "wait_s must be", text="x", wait_s=float("nan"))
        await desk.refused("say", "wait_s must be", text="x", wait_s=True)
        status = await desk.ask("status")
        assert status["turns"]["outcomes"] == {"own": 1} and status["turns"]["sounded_ms"] == []
        kiosk.daemon.post(e.StopRequested())


async def test_nobody_is_talked_over(autojump_clock: trio.testing.MockClock) -> None:
    kiosk = Kiosk()
    desk = Desk(kiosk)
    async with trio.open_nursery() as nursery:
        await ready(nursery, kiosk)
        kiosk.daemon.post(e.Pressed())
        await desk.refused("say", "is listening, also after 2 s", text="hello", wait_s=2)
        kiosk.answerer.mute = True
        kiosk.daemon.post(e.Released())
        began = trio.current_time()
        assert (await desk.ask("say", text="hello"))["heard_ms"] == 200
        assert trio.current_time() - began == pytest.approx(5, abs=0.1), "after the visitor's apology"
        kiosk.mouth.slow = True
        async with trio.open_nursery() as inner:
            said: list[Any] = []

            async def say() -> None:
                said.append(await desk.ask("say", text="hello"))

            inner.start_soon(say)
            await trio.sleep(0.05)
            kiosk.daemon.post(e.Pressed())  # a visitor goes first
        assert said[0]["interrupted"] and said[0]["heard_ms"] == 70
        kiosk.daemon.post(e.StopRequested())


async def test_what_can_not_be_heard_is_refused_with_its_cause(autojump_clock: trio.testing.MockClock) -> None:
    kiosk = Kiosk()
    desk = Desk(kiosk)
    async with trio.open_nursery() as nursery:
        await ready(nursery, kiosk)
        kiosk.daemon.post(e.FaultRaised(e.Fault.SPEAKER, "it was unplugged; plug it in"))
        await desk.refused("say", "speaker: it was unplugged; plug it in", text="hello")
        await desk.refused("press", "not taken: speaker: it was unplugged", ms=500)
        kiosk.daemon.post(e.FaultCleared(e.Fault.SPEAKER))
        assert (await desk.ask("press", ms=500))["outcome"] == "answered", "the refused press was let go"
        kiosk.answerer.status = LinkStatus("lobby", e.Link.REFUSED, f"the key {KEY_LIKE} is wrong", 0.0)
        kiosk.daemon.post(e.LinkChanged(e.Link.REFUSED, "as above"))
        await desk.refused("press", "the endpoint lobby refuses: the key .* is wrong")
        assert KEY_LIKE not in json.dumps(await desk.ask("status"))
        kiosk.daemon.post(e.StopRequested())


@pytest.mark.parametrize("transcripts", [False, True])
async def test_a_press_from_afar_is_a_press(autojump_clock: trio.testing.MockClock, transcripts: bool) -> None:
    kiosk = Kiosk(evolve(SETTINGS, log=Log(transcripts=transcripts)))
    desk = Desk(kiosk)
    async with trio.open_nursery() as nursery:
        await ready(nursery, kiosk)
        began = trio.current_time()
        turn = await desk.ask("press", ms=3000)
        assert trio.current_time() - began == pytest.approx(3)
        assert (turn["outcome"], turn["heard_ms"], turn["sounded_ms"]) == ("answered", 100, 0)
        assert (turn.get("visitor") == "what time is it") is transcripts
        assert "what time" not in json.dumps(await desk.ask("status"))
        assert desk.remote.chronicle.last[0].report.question == "", "nothing that was said is kept"
        assert (await desk.ask("press", ms=100))["outcome"] == "too-short"
        await desk.refused("press", "from 1 to 10000", ms=10_001)
        await desk.refused("press", "from 1 to 10000", ms="long")
        kiosk.daemon.post(e.StopRequested())


async def test_a_press_from_afar_disturbs_nobody_unless_it_is_meant_to(autojump_clock: trio.testing.MockClock) -> None:
    kiosk = Kiosk()
    desk = Desk(kiosk)
    async with trio.open_nursery() as nursery:
        await ready(nursery, kiosk)
        kiosk.daemon.post(e.FoundHeld())
        await desk.refused("press", "the button is being held")
        kiosk.daemon.post(e.Released())
        kiosk.daemon.post(e.Pressed())
        for interrupt in (False, True):
            await desk.refused("press", "the kiosk is listening", interrupt=interrupt)
        kiosk.mouth.slow = True
        await trio.sleep(1)
        kiosk.daemon.post(e.Released())
        assert kiosk.daemon.view.state is State.SPEAKING
        await desk.refused("press", "the kiosk is speaking")
        kiosk.mouth.slow = False
        assert (await desk.ask("press", ms=600, interrupt=True))["turn"] == 2
        assert (await desk.ask("status"))["turns"]["outcomes"] == {"interrupted": 1, "answered": 1}
        kiosk.daemon.post(e.StopRequested())


async def test_who_gives_up_a_press_lets_go_and_a_visitors_finger_is_not_lifted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kiosk = Kiosk()
    desk = Desk(kiosk)
    async with trio.open_nursery() as nursery:
        await ready(nursery, kiosk)
        with trio.move_on_after(2):
            await desk.ask("press", ms=9000)
        assert kiosk.ear.held == [1]
        async with trio.open_nursery() as inner:
            inner.start_soon(desk.verbs["press"].run, {"ms": 4000}, None)  # type: ignore[arg-type]
            await trio.sleep(1)
            kiosk.daemon.post(e.Released())  # of a visitor who pressed as well
            kiosk.daemon.post(e.Pressed())
            await trio.sleep(6)
            assert kiosk.daemon.view.state is State.LISTENING
            kiosk.daemon.post(e.Released())
        kiosk.daemon.post(e.StopRequested())


async def test_the_status_tells_how_the_kiosk_is(autojump_clock: trio.testing.MockClock) -> None:
    kiosk = Kiosk()
    desk = Desk(kiosk)
    async with trio.open_nursery() as nursery:
        await ready(nursery, kiosk)
        await trio.sleep(10)
        status = await desk.ask("status")
        assert (status["health"], status["troubles"], status["faults"]) == ("healthy", [], [])
        assert status["uptime_s"] == 10 and status["state"] == "ready" and status["link"]["state"] == "up"
        assert status["sound"]["microphone"] == {
            "device": "plughw:CARD=Mic", "present": True, "xruns": 2, "level": 0.25, "lost": 0,
        }  # fmt: skip
        assert (status["echo_tail_ms"], status["self_test"]) == (150, None)
        assert {vital["name"] for vital in status["vitals"]} >= {"capture", "playback", "link", "panel"}
        for audio, tail_ms in ((Audio(echo_tail_ms=90), 90), (Audio(echo=Echo.SERVER, echo_tail_ms=90), None)):
            kiosk.daemon.adjust(evolve(SETTINGS, audio=audio))
            assert (await desk.ask("status"))["echo_tail_ms"] == tail_ms, "what the dialogue goes by"
        kiosk.ear.age_s = 3600
        await trio.sleep(3600)
        status = await desk.ask("status")
        assert (status["health"], [v["name"] for v in status["vitals"] if not v["fresh"]]) == ("unhealthy", ["capture"])
        assert status["troubles"][0].startswith("capture hasn't moved for 3600 s")
        kiosk.ear.age_s = 0.1
        kiosk.daemon.post(e.FaultRaised(e.Fault.MICROPHONE, "unplugged"))
        await trio.sleep(3)
        kiosk.daemon.post(e.FaultRaised(e.Fault.MICROPHONE, "another one was plugged in, and is deaf"))
        await trio.sleep(3)
        status = await desk.ask("status")
        assert status["health"] == "degraded"
        assert status["faults"] == [
            {"fault": "microphone", "since_s": 6, "cause": "microphone: another one was plugged in, and is deaf"}
        ]
        kiosk.daemon.post(e.FaultCleared(e.Fault.MICROPHONE))
        kiosk.answerer.status = LinkStatus(
            "lobby", e.Link.DOWN, "no route to host", trio.current_time(), trio.current_time() + 9
        )
        kiosk.daemon.post(e.LinkChanged(e.Link.DOWN, "no route to host"))
        kiosk.daemon.post(e.LinkChanged(e.Link.CONNECTING))
        status = await desk.ask("status")
        assert (status["health"], status["troubles"]) == ("degraded", ["link down: no route to host"])
        assert status["link"]["losses"] == 1 and status["link"]["next_try_s"] == pytest.approx(9)
        json.dumps(status)
        kiosk.daemon.post(e.StopRequested())


async def test_a_button_that_is_stuck_is_a_fault_with_a_cause(autojump_clock: trio.testing.MockClock) -> None:
    kiosk = Kiosk()
    desk = Desk(kiosk)
    async with trio.open_nursery() as nursery:
        await ready(nursery, kiosk)
        kiosk.daemon.post(e.FoundHeld())
        await trio.sleep(SETTINGS.conversation.stuck_button_s + 4)
        [fault] = (await desk.ask("status"))["faults"]
        assert fault["since_s"] == 4 and "wires" in fault["cause"]
        kiosk.daemon.post(e.StopRequested())


async def test_it_outlives_a_daemon_and_goes_on_with_the_next(autojump_clock: trio.testing.MockClock) -> None:
    first, second = Kiosk(), Kiosk(evolve(SETTINGS, log=Log(transcripts=True)))
    desk = Desk()
    await desk.refused("status", "only just starting")
    desk.remote.attach(first.daemon, first.settings)
    async with trio.open_nursery() as nursery:
        await ready(nursery, first)
        await desk.ask("press")
        before = await desk.ask("status")
        first.daemon.post(e.FaultRaised(e.Fault.PANEL, "no chip"))
        desk.remote.attach(second.daemon, second.settings)
        first.daemon.post(e.StopRequested())
        await ready(nursery, second)
        await desk.ask("press")
        after = await desk.ask("status")
        assert after["faults"] == [] and after["turns"]["outcomes"] == {"answered": 2}
        assert after["settings"]["version"] != before["settings"]["version"] and after["uptime_s"] > before["uptime_s"]
        second.daemon.post(e.StopRequested())


async def test_a_press_ends_with_the_daemon_that_took_it(autojump_clock: trio.testing.MockClock) -> None:
    first, second = Kiosk(), Kiosk()
    second.answerer.status = LinkStatus("lobby", e.Link.CONNECTING, "", 0.0)
    desk = Desk(first)
    async with trio.open_nursery() as nursery:
        await ready(nursery, first)
        async with trio.open_nursery() as inner:
            came: list[Any] = []

            async def press() -> None:
                came.append(await desk.ask("press", ms=3000))

            inner.start_soon(press)
            await trio.sleep(1)
            desk.remote.attach(second.daemon, second.settings)
            first.daemon.post(e.StopRequested())
        assert came[0]["outcome"] == "cancelled"
        await ready(nursery, second)
        assert (await desk.ask("status"))["link"]["losses"] == 0, "a link that is made anew was not lost"
        second.daemon.post(e.StopRequested())


async def test_the_log_says_more_until_the_next_start(level: None) -> None:
    desk = Desk(Kiosk())
    logging.getLogger().setLevel(logging.INFO)
    assert await desk.ask("log-level", level="debug") == {"level": "debug", "was": "info"}
    assert logging.getLogger().level == logging.DEBUG
    await desk.refused("log-level", "these are: debug, info, warning, error", level="loud")
    await desk.refused("log-level", "no level", level=None)


async def test_a_kiosk_without_a_sound_card_tests_none(autojump_clock: trio.testing.MockClock) -> None:
    kiosk = Kiosk()
    desk = Desk(kiosk)
    async with trio.open_nursery() as nursery:
        await ready(nursery, kiosk)
        await desk.refused("test-sound", "no sound card")
        kiosk.daemon.post(e.StopRequested())


async def test_who_watches_sees_one_status_after_the_other(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk(Kiosk())
    with trio.move_on_after(10.5):
        await desk.ask("watch", interval_s=2)
    assert len(desk.sent) == 6
    await desk.refused("watch", "interval_s must be", interval_s=0)
