"""A kiosk whose parts do what the test says, and the control socket served in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
import trio.testing
from attrs import define, field

from kioskd.audio.pcm import ms_of
from kioskd.audio.utterance import Utterance
from kioskd.config.schema import Audio, Conversation, Endpoint, Settings
from kioskd.control.door import Door
from kioskd.control.server import Control
from kioskd.daemon import Daemon
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Sign, View
from kioskd.endpoints.port import LinkStatus
from kioskd.pulse import Pulse
from kioskd.remote import Remote

KEY_LIKE = "sk-aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"
SETTINGS = Settings(
    endpoints=(Endpoint("lobby", "wss://example.invalid/v1/realtime", "m"),),
    conversation=Conversation(max_utterance_s=10, answer_timeout_s=5),
    audio=Audio(microphone="plughw:CARD=Mic", speaker="plughw:CARD=Box", signs=False),
)

Report = Callable[..., None]


@define(eq=False)
class Part:
    """Runs, and lets the test report."""

    report: Report = field(default=lambda event: None)
    level: float = 0.25
    xruns: int = 2
    present: bool = True
    age_s: float = 0.1

    @property
    def pulse(self) -> Pulse:
        return Pulse(self.age_s)

    async def run(self, report: Report) -> None:
        self.report = report
        await trio.sleep_forever()


@define(eq=False)
class Ear(Part):
    """A microphone that hears silence."""

    held: list[int] = field(factory=list)

    def begin(self, turn: int, pre_roll_ms: int) -> Utterance:
        return Utterance(turn, 1_000_000)

    def end(self, turn: int, post_roll_ms: int) -> None:
        self.held.append(turn)
        self.report(e.UtteranceEnded(turn, 1500))

    def discard(self, turn: int) -> None:
        pass


@define(eq=False)
class Mouth(Part):
    """A speaker that plays in no time, or never where it is `slow`."""

    slow: bool = False
    said: bytes = b""

    def play(self, turn: int, pcm: bytes) -> None:
        self.said += pcm
        self.report(e.SpeakingStarted(turn))

    def finish(self, turn: int) -> None:
        if not self.slow:
            self.report(e.SpeakingFinished(turn, ms_of(len(self.said))))

    def stop(self, turn: int) -> None:
        self.report(e.SpeakingStopped(turn, 70))

    def give_sign(self, sign: Sign) -> None:
        self.report(e.SignFinished())

    def cut_sign(self) -> None:
        pass


@define(eq=False)
class Lamp(Part):
    """A panel that nobody touches."""

    def show(self, view: View) -> None:
        pass


@define(eq=False)
class Answerer(Part):
    """An endpoint that says 100 ms of something at once, unless it is `mute`."""

    mute: bool = False
    status: LinkStatus = field(factory=lambda: LinkStatus("lobby", e.Link.UP, "", 0.0))

    async def run(self, report: Report) -> None:
        self.report = report
        report(e.LinkChanged(self.status.link, self.status.cause))
        await trio.sleep_forever()

    def ask(self, turn: int) -> None:
        if not self.mute:
            self.report(e.Transcript(turn, e.Speaker.VISITOR, "what time is it"))
            self.report(e.AnswerAudio(turn, b"\1\0" * 2400, 100))
            self.report(e.AnswerEnded(turn, e.Ending.COMPLETE))

    def begin(self, utterance: object) -> None:
        pass

    def cancel(self, turn: int) -> None:
        pass

    discard = cancel

    def interrupt(self, turn: int, heard_ms: int) -> None:
        pass

    def forget(self) -> None:
        pass


@define(eq=False)
class Kiosk:
    """All of it."""

    settings: Settings = SETTINGS
    ear: Ear = field(factory=Ear)
    mouth: Mouth = field(factory=Mouth)
    lamp: Lamp = field(factory=Lamp)
    answerer: Answerer = field(factory=Answerer)
    daemon: Daemon = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.daemon = Daemon(  # type: ignore[arg-type]
            self.settings.conversation, self.ear, self.mouth, self.lamp, self.answerer, audio=self.settings.audio
        )


@contextmanager
def served(path: Path, *kiosks: Kiosk, extra: Callable[[Control], None] = lambda control: None) -> Iterator[Path]:
    """The control socket of a kiosk, served until the end of the block; without a kiosk: just the socket."""
    told: queue.Queue[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = queue.Queue()

    async def main() -> None:
        control = Control()
        extra(control)
        async with trio.open_nursery() as nursery:
            for kiosk in kiosks:
                remote = Remote()
                remote.add_to(control)
                remote.attach(kiosk.daemon, kiosk.settings)
                nursery.start_soon(kiosk.daemon.run)
            await trio.testing.wait_all_tasks_blocked()
            await nursery.start(control.serve, Door(path))
            told.put((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    token, scope = told.get(timeout=30)
    try:
        yield path
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(30)
    assert not thread.is_alive() and not path.exists()
