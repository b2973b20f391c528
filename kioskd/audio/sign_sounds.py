"""What each sign sounds like here: the kiosk's own tone, a recording of the owner's, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from kioskd.audio.earcons import earcon
from kioskd.audio.wav import WavError, read_wav
from kioskd.config.schema import Settings, Sounds
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.surroundings import SIGN_SOUNDS_AT_MOST_S

log = logging.getLogger(__name__)

TONE = "tone"
NONE = "none"
LONGEST_S = SIGN_SOUNDS_AT_MOST_S - 0.5  # the dialogue waits no longer; the sound card holds some of it


class SignSounds:
    """The sounds of all signs. Recordings are read at once; a tone is made when it is first heard."""

    def __init__(self, settings: Sounds, language: str | None = None) -> None:
        """`language` is what visitors speak, as a code: it chooses the apology."""
        self._recordings = recordings(settings, language)

    def adjust(self, settings: Settings) -> None:
        """See `kioskd.pulse.Adjustable`. Better with `recordings` read already, in another thread."""
        self._recordings = recordings(settings.audio.sounds, settings.conversation.language)

    def of(self, sign: Sign) -> bytes:
        """The sound of a sign, s16le mono at 24 kHz; b"" where it has none."""
        recording = self._recordings.get(sign)
        return earcon(sign) if recording is None else recording


@lru_cache(maxsize=1)
def recordings(settings: Sounds, language: str | None) -> Mapping[Sign, bytes]:
    """What of the signs is a recording. Of one that can't be used a warning tells, and the tone takes its place."""
    found: dict[Sign, bytes] = {}
    for sign in Sign:
        try:
            recording = _recording(chosen(sign, settings, language))
        except WavError as error:
            log.warning("the sound of the sign %r: %s; its tone is played instead", sign.value, error)
        else:
            if recording is not None:
                found[sign] = recording
    return found


def chosen(sign: Sign, settings: Sounds, language: str | None) -> str:
    """What the settings say of a sign: TONE, NONE or a file. An apology in the visitors' language goes first."""
    if sign is Sign.SORRY and language is not None:
        exact = settings.sorry_in.get(language)
        if spoken := exact or settings.sorry_in.get(language.partition("-")[0]):
            return spoken
    return str(getattr(settings, sign.value.replace("-", "_"), TONE))


def problems(settings: Sounds) -> list[str]:
    """Every recording in the settings that can't be used, a line each: for `kioskd check`."""
    named = {name: value for name in _names() if isinstance(value := getattr(settings, name), str)}
    named |= {f"sorry_in.{language}": value for language, value in settings.sorry_in.items()}
    found = []
    for name, value in named.items():
        try:
            _recording(value)
        except WavError as error:
            found.append(f"audio.sounds.{name}: {error}")
    return found


def _names() -> list[str]:
    return [name for name in Sounds.__annotations__ if name != "sorry_in"]


def _recording(choice: str) -> bytes | None:
    """The sound of a file; b"" for none, None for the tone. Raises WavError."""
    if choice == TONE:
        return None
    if choice == NONE:
        return b""
    path = Path(choice)
    if not path.is_absolute():
        raise WavError(path, f"must be {TONE}, {NONE} or the whole path of a WAV file, beginning with /")
    return read_wav(path, LONGEST_S)
