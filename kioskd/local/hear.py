"""Recognise a question in sound, with pocketsphinx in a child process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

import trio
from attrs import frozen

from kioskd.local.faq import Entry, Faq, FaqError, jsgf, questions_of
from kioskd.local.frames import HEADER, MAX_FRAME_BYTES, SAMPLE_BYTES, framed, length_of

START_TIMEOUT_S = 60  # 0.5 s on a PC; a Raspberry Pi that boots reads the model from a busy SD card
HEAR_TIMEOUT_S = 60  # the longest utterance (60 s) takes 8 s on a PC; a Raspberry Pi has some times as long

_log = logging.getLogger(__name__)


class RecogniserError(RuntimeError):
    """The recogniser can't work; the message says why and what to do."""


class _ChildGoneError(Exception):
    """The child died or broke the protocol."""


@frozen
class Heard:
    """What was said: the question as the FAQ has it, and its entry; "" and None for silence and anything else."""

    text: str
    entry: Entry | None


class Recogniser:
    """A child process that recognises the questions of one FAQ. Several tasks may ask; they wait for each other."""

    def __init__(self, faq: Faq) -> None:
        self._faq = faq
        self._entries = {question.text: entry for entry in faq.entries for question in entry.questions}
        self._child: trio.Process | None = None
        self._turn = trio.Lock()
        self._deaths = 0

    async def __aenter__(self) -> Self:
        """Start the child. Raises `FaqError` (a word that the dictionary lacks), `RecogniserError`."""
        try:
            await self._start()
        except _ChildGoneError as error:
            raise RecogniserError(f"the recogniser {error} at its start; try `{_command_line()}`") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._kill()

    async def hear(self, pcm: bytes) -> Heard:
        """Recognise one utterance, s16le mono 24 kHz. A child that died is restarted, once, within the call.

        Cancelled, it kills the child; the next call starts a new one. Longer than any question: nothing matches.
        Raises `RecogniserError` (dead or stuck child).
        """
        if len(pcm) > MAX_FRAME_BYTES:
            return Heard("", None)
        whole = pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES]
        async with self._turn:
            reply = await self._ask(whole)
        question = reply.get("question")
        entry = self._entries.get(question) if isinstance(question, str) else None
        return Heard(question, entry) if isinstance(question, str) and entry else Heard("", None)

    async def _ask(self, pcm: bytes) -> dict[str, Any]:
        try:
            reply = await self._attempt(pcm)
        except _ChildGoneError as error:
            self._tell_death(error)
            try:
                reply = await self._attempt(pcm)
            except _ChildGoneError as again:
                raise RecogniserError(f"the recogniser {again}, twice; try `{_command_line()}`") from None
        else:
            if self._deaths:
                _log.info("the recogniser works again, after %d restart(s)", self._deaths)
                self._deaths = 0
        return reply

    def _tell_death(self, error: _ChildGoneError) -> None:
        self._deaths += 1
        level = logging.WARNING if self._deaths == 1 else logging.DEBUG
        _log.log(level, "the recogniser %s; starting a new one (out of memory? see `journalctl -k`)", error)

    async def _attempt(self, pcm: bytes) -> dict[str, Any]:
        if self._child is None:
            await self._start()
        return await self._exchange(pcm, HEAR_TIMEOUT_S)

    async def _start(self) -> None:
        words = sorted({word for question in questions_of(self._faq) for word in question.text.split()})
        vocabulary = {"grammar": jsgf(self._faq), "words": words}
        try:
            self._child = await trio.lowlevel.open_process(
                _command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl+C in a terminal is for the parent, which then ends its child
            )
        except OSError as error:
            raise RecogniserError(f"the recogniser can't be started: {error}; try `{_command_line()}`") from None
        reply = await self._exchange(json.dumps(vocabulary).encode(), START_TIMEOUT_S)
        if reply.get("ready") is True:
            return
        await self._kill()
        if missing := reply.get("missing"):
            raise FaqError("\n".join(self._missing_lines(set(missing))))
        raise RecogniserError(f"the recogniser can't start: {reply.get('error', 'it does not say why')}")

    def _missing_lines(self, missing: set[str]) -> list[str]:
        return [
            f"{self._faq.path}:{question.line}: the recogniser's dictionary lacks the word `{word}`; use another"
            for question in questions_of(self._faq)
            for word in question.text.split()
            if word in missing
        ]

    async def _exchange(self, payload: bytes, timeout_s: float) -> dict[str, Any]:
        """One frame there, one back. Whatever goes wrong, cancellation too, leaves no child out of step."""
        child = self._child
        assert child is not None and child.stdin is not None and child.stdout is not None
        complete = False
        try:
            with trio.fail_after(timeout_s):
                await child.stdin.send_all(framed(payload))
                length = length_of(await _receive_exactly(child.stdout, HEADER.size))
                reply = json.loads(await _receive_exactly(child.stdout, length))
            if not isinstance(reply, dict):
                raise _ChildGoneError("gave no answer but garbage")
            complete = True
            return reply
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise _ChildGoneError("died") from None
        except trio.TooSlowError:
            raise _ChildGoneError(f"gave no answer within {timeout_s} s") from None
        except ValueError:
            raise _ChildGoneError("gave no answer but garbage") from None
        finally:
            if not complete:
                await self._kill()

    async def _kill(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with trio.CancelScope(shield=True):  # SIGKILL: this wait is short
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    await pipe.aclose()
            await child.wait()


async def _receive_exactly(pipe: trio.abc.ReceiveStream, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = await pipe.receive_some(size - len(received))
        if not chunk:
            raise _ChildGoneError("died")
        received += chunk
    return bytes(received)


def _command() -> list[str]:
    return [sys.executable, "-m", "kioskd.local.recogniser"]


def _command_line() -> str:
    return f"{sys.executable} -c 'import pocketsphinx'"
