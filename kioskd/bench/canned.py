"""The answers of the server: texts of GA events, ready to be sent, with the times at which they are due."""

from __future__ import annotations

import binascii
import itertools
import math
import random
from array import array
from collections.abc import Iterator

from attrs import define

DELTA_MS = 100
BYTES_PER_MS = 48  # s16le mono at 24 kHz
THINKING_S = 0.1  # between the question and the first word
CREATED = '{"type":"session.created","event_id":"%s","session":{"type":"realtime","id":"sess_bench","model":"bench"}}'
UPDATED = '{"type":"session.updated","event_id":"%s","session":{"type":"realtime"}}'


@define
class Weather:
    """How answers come: their length, how much faster than real time, and how late each piece may be."""

    answer_ms: int = 4000
    speed: float = 5.0
    jitter_ms: float = 0.0


def voice(ms: int) -> bytes:
    """A tone that swells and ebbs, s16le mono at 24 kHz: nothing here listens to it, but it is no silence."""
    rate = BYTES_PER_MS * 500
    wave = (
        int(6000 * math.sin(2 * math.pi * 220 * at / rate) * (1.2 + math.sin(6 * math.pi * at / rate)))
        for at in range(ms * rate // 1000)
    )
    return array("h", wave).tobytes()


class Can:
    """Makes events with ids that never repeat."""

    def __init__(self, seed: int = 1) -> None:
        self._ids = itertools.count(1)
        self._random = random.Random(seed)
        self._delta = binascii.b2a_base64(voice(DELTA_MS), newline=False).decode()

    def event_id(self) -> str:
        """A new one."""
        return f"event_{next(self._ids)}"

    def committed(self) -> Iterator[str]:
        """What follows a commit."""
        number = next(self._ids)
        item = f'{{"id":"item_{number}","type":"message","status":"completed","role":"user","content":[]}}'
        yield (
            f'{{"type":"input_audio_buffer.committed","event_id":"{self.event_id()}","previous_item_id":null,'
            f'"item_id":"item_{number}"}}'
        )
        for kind in ("added", "done"):
            yield f'{{"type":"conversation.item.{kind}","event_id":"{self.event_id()}","item":{item}}}'
        yield (
            '{"type":"conversation.item.input_audio_transcription.completed",'
            f'"event_id":"{self.event_id()}","item_id":"item_{number}","content_index":0,"transcript":"Hello?",'
            '"usage":{"type":"duration","seconds":3}}'
        )

    def answer(self, metadata: str, weather: Weather, now: float) -> Iterator[tuple[float, str, bool]]:
        """(when it is due, event, whether it is a piece of sound) of a whole answer. `metadata` is JSON."""
        response, item = f"resp_{next(self._ids)}", f"item_{next(self._ids)}"
        ids = f'"response_id":"{response}","item_id":"{item}","output_index":0,"content_index":0'
        due = now + THINKING_S
        yield due, self._response("response.created", response, "in_progress", metadata), False
        message = f'{{"id":"{item}","type":"message","status":"in_progress","role":"assistant","content":[]}}'
        added = f'"event_id":"{self.event_id()}","response_id":"{response}","output_index":0,"item":{message}'
        yield due, f'{{"type":"response.output_item.added",{added}}}', False
        for number in range(-(-weather.answer_ms // DELTA_MS)):
            planned = now + THINKING_S + number * DELTA_MS / 1000 / weather.speed
            due = max(due, planned + self._random.uniform(0, weather.jitter_ms) / 1000)
            if number % 2 == 0:
                yield due, self._event("response.output_audio_transcript.delta", ids, "Hello "), False
            yield due, self._event("response.output_audio.delta", ids, self._delta), True
        for kind, text in (("output_audio", ""), ("output_audio_transcript", ',"transcript":"Hello"')):
            yield due, f'{{"type":"response.{kind}.done","event_id":"{self.event_id()}",{ids}{text}}}', False
        yield due, self._response("response.done", response, "completed", metadata), False

    def cancelled(self, response: str) -> str:
        """The end of an answer that was cancelled."""
        return self._response("response.done", response, "cancelled", "null")

    def _event(self, kind: str, ids: str, delta: str) -> str:
        return f'{{"type":"{kind}","event_id":"{self.event_id()}",{ids},"delta":"{delta}"}}'

    def _response(self, kind: str, response: str, status: str, metadata: str) -> str:
        inner = (
            f'"object":"realtime.response","id":"{response}","status":"{status}","output":[],"metadata":{metadata},'
            '"usage":{"total_tokens":79,"input_tokens":16,"output_tokens":63}'
        )
        return f'{{"type":"{kind}","event_id":"{self.event_id()}","response":{{{inner}}}}}'
