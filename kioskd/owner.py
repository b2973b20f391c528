"""What the kiosk says to its owner at the press of the owner's button: its name, its address and how it is."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterable

from kioskd.audio.verdict import Report, Verdict
from kioskd.dialogue.effects import View
from kioskd.dialogue.events import Fault, Link
from kioskd.endpoints.port import LinkStatus

log = logging.getLogger(__name__)

_ELSEWHERE = ("192.0.2.1", 9)  # an address of nobody's (RFC 5737); nothing is sent to it
_MOST_WORDS = 40  # of a cause: the rest stands in the log

_LINKS = {
    Link.UP: "It is connected",
    Link.CONNECTING: "It is connecting",
    Link.DOWN: "It has no connection",
    Link.REFUSED: "It is refused",
}
_FAULTS = {
    Fault.MICROPHONE: "the microphone",
    Fault.SPEAKER: "the speaker",
    Fault.PANEL: "the panel",
    Fault.BUTTON_STUCK: "a button that is stuck",
    Fault.MICROPHONE_DEAF: "a microphone that hears nothing",
    Fault.SPEAKER_DEAD: "a speaker that can't be heard",
}


def words(name: str, address: str | None, view: View, status: LinkStatus) -> str:
    """The sentences to be spoken, in English."""
    where = f"Its address is {_spoken(address)}" if address else "It has no network address"
    how = f"{_LINKS[status.link]}, endpoint {status.endpoint}"
    if status.link is not Link.UP and status.cause:
        how += ": " + " ".join(status.cause.split()[:_MOST_WORDS])
    return f"This is {name}. {where}. {how}. {_trouble(view.faults)}."


def local_address() -> str | None:
    """The IPv4 address that this machine would use to reach others; None without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)  # of a datagram socket: chooses a route, and sends nothing
        except OSError:
            return None
        return str(probe.getsockname()[0])


async def announcement(view: View, status: LinkStatus) -> bytes:
    """`words` of this machine, spoken: s16le mono at 24 kHz. Raises local.speak.SpeechError."""
    # Only here: it brings numpy and a resampler, which a kiosk without the button never needs.
    from kioskd.local.speak import synthesise

    text = words(socket.gethostname(), local_address(), view, status)
    log.info("the owner's button: %s", text)
    return await synthesise(text, "en")


def verdict_words(report: Report) -> str:
    """What came of a self-test, in English."""
    said = {
        Verdict.FINE: "The speaker and the microphone work",
        Verdict.SPEAKER_DEAD: "The microphone does not hear the speaker",
        Verdict.MICROPHONE_DEAF: "The microphone is deaf",
        Verdict.UNCLEAR: "The test is not clear",
    }[report.verdict]
    more = (
        f"{report.latency_ms:.0f} milliseconds"
        if report.latency_ms is not None
        else re.sub(r"[(`].*?[)`]", "", report.reason)
    )
    if report.tail_ms is not None:
        more += f". The room is quiet {report.tail_ms:.0f} milliseconds after the last sound"
    return f"{said}: {more}."


async def spoken_verdict(report: Report) -> bytes:
    """`verdict_words`, spoken as `announcement` is. Raises local.speak.SpeechError."""
    from kioskd.local.speak import synthesise

    return await synthesise(verdict_words(report), "en")


def _spoken(address: str) -> str:
    """Digit by digit, as it has to be typed."""
    return " point ".join(" ".join(part) for part in address.split("."))


def _trouble(faults: Iterable[Fault]) -> str:
    troubles = [_FAULTS[fault] for fault in Fault if fault in frozenset(faults)]
    return f"There is trouble with {' and '.join(troubles)}" if troubles else "There is no fault"
