"""From settings to a running kiosk: which parts there are, and who is introduced to whom."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial

import trio

from kioskd import __version__, heap
from kioskd.audio.latencies import Latencies
from kioskd.audio.microphone import AlsaMicrophone
from kioskd.audio.sign_sounds import SignSounds, recordings
from kioskd.audio.sound_check import SoundCheck
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.config import schema
from kioskd.config.places import runtime_directory, state_directory
from kioskd.config.secrets import KeyUnavailable, mask_keys, printable_url
from kioskd.control.door import open_door
from kioskd.control.peer import Right
from kioskd.control.protocol import Fields
from kioskd.control.server import Control, RefusedError, Send, Verb
from kioskd.daemon import Daemon, kept_ms
from kioskd.dialogue.effects import Effect, Show, State
from kioskd.dialogue.events import Event
from kioskd.endpoints.kinds import make_endpoint
from kioskd.endpoints.netlink import watch_network
from kioskd.endpoints.roster import Roster
from kioskd.handed import Handed, users_of
from kioskd.health.flight.dumps import DumpError
from kioskd.health.flight.recorder import FlightRecorder
from kioskd.health.turns import TurnReport, TurnWatch, log_turn
from kioskd.health.vitals import link_limit_s
from kioskd.here import HERE
from kioskd.landmarks import STARTED
from kioskd.owner import announcement, spoken_verdict
from kioskd.panel.lamp import Light
from kioskd.panel.panel import Panel
from kioskd.parts import LIMITS_S
from kioskd.remote import Remote
from kioskd.service import Service
from kioskd.spend.ledger import NAME as LEDGER
from kioskd.steward import Steward
from kioskd.supervision import Supervised
from kioskd.tellers import Tellers
from kioskd.tools.built_in import OwnTools
from kioskd.tools.runner import runner_for
from kioskd.tools.toolbox import KioskTools

log = logging.getLogger(__name__)


KeyOf = Callable[[schema.Endpoint], str]


def build_tools(settings: schema.Settings) -> KioskTools:
    """What a model may have done here; what the kiosk itself does for one comes with `KioskTools.lend`."""
    return KioskTools(settings.tools, lambda tools: runner_for(tools.runner, os.environ))


def build_endpoint(
    endpoints: Sequence[schema.Endpoint],
    conversation: schema.Conversation,
    key_of: KeyOf | None = None,
    tools: KioskTools | None = None,
) -> Roster:
    """Who answers, in the order of preference; each one's key is read anew at each connection, by `key_of`."""
    read = key_of or Handed().key_of
    return Roster(
        endpoints,
        conversation,
        lambda endpoint, talk, history: make_endpoint(endpoint, talk, read, history, HERE, tools),
        watch_network,
    )


def build_daemon(
    settings: schema.Settings,
    on_light: Callable[[Light], None] | None = None,
    endpoint: Roster | None = None,
    tools: KioskTools | None = None,
) -> Daemon:
    """The whole kiosk on this machine's sound card and pins. Who answers is the settings' affair, or `endpoint`.

    `tools` are those of `endpoint`.
    """
    talk = settings.conversation
    tools = tools or build_tools(settings)
    daemon: Daemon
    sounds = SignSounds(settings.audio.sounds, talk.language)
    microphone = AlsaMicrophone(settings.audio, talk.pre_roll_ms, int(talk.max_utterance_s * 1000))
    speaker = AlsaSpeaker(
        settings.audio,
        sound_of=sounds.of,
        latency_of=lambda card: sound.opened(card, speaker.device),
    )
    sound = SoundCheck(settings.audio, microphone, speaker, Latencies(state_directory(os.environ)))
    own = OwnTools(settings, speaker.adjust, lambda turn: daemon.goodbye(turn))
    panel = Panel(settings.panel, lambda: daemon.level, *([on_light] if on_light else []))
    daemon = Daemon(
        talk,
        microphone,
        speaker,
        panel,
        endpoint or build_endpoint(settings.endpoints, talk, tools=tools),
        audio=settings.audio,
        answer_kept_ms=kept_ms(settings),
        announce=lambda: announcement(daemon.view, daemon.link),
        sound=sound,
        spoken_verdict=spoken_verdict,
        limits_s={**LIMITS_S, "link": link_limit_s(settings.endpoints)},
        adjustable=[sounds, own, tools],
    )
    tools.lend(own.tools)
    for observer in (own, tools):
        daemon.observe(observer)
    return daemon


class TurnLog:
    """Logs each turn; with `transcripts`, also what was said, as its owner wished."""

    def __init__(self, settings: schema.Log) -> None:
        self._transcripts = settings.transcripts
        self._watch = TurnWatch(self._report)

    def adopt(self, settings: schema.Log) -> None:
        """These count from the next turn that is logged."""
        self._transcripts = settings.transcripts

    def __call__(self, what: Event | Effect, now: float) -> None:
        """An observer of the daemon."""
        self._watch(what, now)

    def _report(self, report: TurnReport) -> None:
        log_turn(report)
        if self._transcripts:
            log.info("turn %d: visitor: %s | kiosk: %s", report.turn, report.question, report.answer)


def give_memory_back(what: Event | Effect, now: float) -> None:
    """An observer of the daemon: what a turn took of memory goes back."""
    if isinstance(what, Show) and what.view.state is State.READY:
        heap.give_back()


async def serve(settings: schema.Settings, load: Callable[[], schema.Settings] | None = None) -> None:
    """Be a kiosk until SIGTERM or SIGINT. `load` reads the settings anew, at SIGHUP.

    Raises control.door.DoorTakenError where another one runs.
    """
    heap.keep_small()
    door = open_door(os.environ)
    control, remote, handed = Control(), Remote(), Handed()
    remote.add_to(control)
    recorder = FlightRecorder(runtime_directory(os.environ), state_directory(os.environ))
    control.add("flight-dump", Verb(partial(_keep_record, recorder)))
    for each in settings.endpoints:
        address = printable_url(each.url) if each.url else "on this machine"
        log.info("kioskd %s: endpoint %s, %s", __version__, each.name, address, extra=STARTED)
    tools = build_tools(settings)
    endpoint = build_endpoint(settings.endpoints, settings.conversation, handed.key_of, tools)
    daemon = build_daemon(settings, endpoint=endpoint, tools=tools)
    turn_log, telling = TurnLog(settings.log), Tellers(remote.status, handed.read)
    telling.adjust(settings)
    ledger = state_directory(os.environ) / LEDGER
    steward = Steward(settings, ledger, lambda: endpoint.status.endpoint, endpoint.prefer, handed.key_of)
    remote.figures["spend"] = lambda: steward.figures
    for observer in (turn_log, telling, steward, give_memory_back):
        daemon.observe(observer)
    remote.attach(daemon, settings)
    recorder.watch(daemon)

    def adopted(settings: schema.Settings, waiting: Sequence[str], trouble: str) -> None:
        remote.adopt(settings, waiting, trouble)
        turn_log.adopt(settings.log)
        telling.adjust(settings)
        steward.adjust(settings)

    def read_anew() -> schema.Settings:
        """In a thread: also what takes its time to be read."""
        assert load is not None
        settings = load()
        recordings(settings.audio.sounds, settings.conversation.language)
        return settings

    control.add("reload-secret", secret_verb(handed, endpoint, lambda: service.settings))
    service = Service(settings, daemon, load and read_anew, adopted=adopted, note=recorder.note)
    with recorder:
        async with trio.open_nursery() as nursery:
            if door is not None:
                await nursery.start(control.serve, door)
            nursery.start_soon(telling.run)
            nursery.start_soon(Supervised("spend", steward.run, lambda cause: None).run)
            nursery.start_soon(tools.run)
            await service.run()
            nursery.cancel_scope.cancel()


def secret_verb(handed: Handed, endpoint: Roster, settings: Callable[[], schema.Settings]) -> Verb:
    """The verb `reload-secret`, for root alone: what uses the secret from now on."""

    async def run(fields: Fields, send: Send) -> Fields:
        return take_secret(fields, handed, endpoint, settings())

    return Verb(run, Right.ROOT)


def take_secret(fields: Fields, handed: Handed, endpoint: Roster, settings: schema.Settings) -> Fields:
    """What uses the secret from now on. Raises RefusedError, without the secret."""
    name, value = fields.get("name"), fields.get("value")
    if not isinstance(name, str) or not isinstance(value, str):
        raise RefusedError("a secret has a name and a value")
    try:
        handed.take(name, value)
    except KeyUnavailable as error:
        raise RefusedError(str(error)) from None
    users = users_of(name, settings)
    endpoint.renew([each.name for each in settings.endpoints if each.name in users])
    log.info("the secret %s was replaced; used by: %s", mask_keys(name)[:100], ", ".join(users) or "nothing")
    return {"used_by": users}


async def _keep_record(recorder: FlightRecorder, fields: Fields, send: Send) -> Fields:
    """The verb `flight-dump`."""
    try:
        path = await trio.to_thread.run_sync(recorder.dump, str(fields.get("reason", "asked for"))[:100])
    except DumpError as error:
        raise RefusedError(str(error)) from None
    return {"path": str(path)}
