"""What this machine hears and says by itself: `local`'s children, for endpoints that need no network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kioskd.config.places import named_file
from kioskd.endpoints.kinds import Locals

if TYPE_CHECKING:
    from kioskd.endpoints.on_site import Understood
    from kioskd.local.site import FaqSite

log = logging.getLogger(__name__)


def site(faq: str) -> FaqSite[Understood]:
    """The questions and answers of this FAQ file."""
    from kioskd.endpoints.on_site import Understood
    from kioskd.local.site import FaqSite  # brings numpy and a resampler, which a kiosk with a network never needs

    return FaqSite(named_file(faq) or Path(faq), Understood, recording)


async def speak(text: str, language: str) -> bytes:
    """The text as s16le mono at 24 kHz. Raises local.speak.SpeechError."""
    from kioskd.local.speak import synthesise

    return await synthesise(text, language)


def recording(path: Path, longest_s: float) -> bytes:
    """The sound of a file; nothing where it can't be played, which is told."""
    from kioskd.audio.wav import WavError, read_wav

    try:
        return read_wav(path, longest_s)
    except WavError as error:
        log.warning("%s; its answer is spoken instead", error)
        return b""


HERE = Locals(site, speak)
