"""A site's questions and answers, with the children that recognise and speak them. Read from its FAQ file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

import trio

from kioskd.local.answer import answer_text
from kioskd.local.faq import Faq, load_faq
from kioskd.local.hear import Recogniser
from kioskd.local.speak import SpeechError, synthesise

LONGEST_RECORDING_S = 180.0  # nobody listens longer

_Understood = TypeVar("_Understood")


class FaqSite(Generic[_Understood]):
    """`understood(question, answer, pcm)` makes what `understand` returns.

    `read_wav(path, longest_s)` reads a recording; empty: there is none that can be played, and the text is spoken.
    The file is read when the recogniser is started: a changed one counts with the next start, or change of settings.
    """

    def __init__(
        self,
        path: Path,
        understood: Callable[[str, str, bytes], _Understood],
        read_wav: Callable[[Path, float], bytes],
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._path = path
        self._understood = understood
        self._read_wav = read_wav
        self._now = now
        self._faq: Faq | None = None
        self._recogniser: Recogniser | None = None
        self._ready = trio.Event()
        self._trouble: Exception | None = None

    @property
    def language(self) -> str:
        """Of its questions and answers; English until its file was read."""
        return self._faq.language if self._faq is not None else "en"

    async def run(self) -> None:
        """Keep the recogniser's child, until cancelled. What keeps it from starting is told by `ready`."""
        try:
            self._faq = await trio.to_thread.run_sync(load_faq, self._path)
            if shutil.which("espeak-ng") is None:
                raise SpeechError("espeak-ng is not installed; run `apt install espeak-ng`")
            async with Recogniser(self._faq) as self._recogniser:
                self._ready.set()
                await trio.sleep_forever()
        except (OSError, ValueError, RuntimeError) as error:
            self._trouble = error
            self._ready.set()
            await trio.sleep_forever()
        finally:
            self._recogniser = None

    async def ready(self) -> None:
        """Return once it can hear and speak. Raises FaqError, RecogniserError, SpeechError, OSError."""
        await self._ready.wait()
        if self._trouble is not None:
            raise self._trouble

    async def understand(self, pcm: bytes) -> _Understood:
        """What was asked, and the answer. Raises as `ready`."""
        await self.ready()
        assert self._faq is not None and self._recogniser is not None
        heard = await self._recogniser.hear(pcm)
        text = answer_text(self._faq, heard, self._now())
        if heard.entry is None or not text:
            return self._understood("", text, b"")
        recording = b""
        if heard.entry.sound:
            path = self._path.parent / heard.entry.sound
            recording = await trio.to_thread.run_sync(self._read_wav, path, LONGEST_RECORDING_S)
        return self._understood(heard.text, text, recording)

    async def speak(self, text: str, language: str) -> bytes:
        """The text spoken. Raises SpeechError."""
        return await synthesise(text, language)
