"""The floor: one tight loop of a blocking socket, binascii, concatenation, a mask made in C, and TLS. No JSON, no loop
of events, no thread."""

from __future__ import annotations

import binascii
import os
import socket
import ssl
from base64 import b64encode

from kioskd.bench.frames import TEXT, FrameReader, masked_frame
from kioskd.bench.plan import Plan
from kioskd.bench.process import Meter
from kioskd.bench.sound import Microphone, Speaker, said

UPDATE = b'{"type":"session.update","session":{"type":"realtime","audio":{"input":{"turn_detection":null}}}}'
_COMMIT = b'{"type":"input_audio_buffer.commit"}'
_CREATE = b'{"type":"response.create"}'
_RECEIVE_BYTES = 65536


class Floor:
    """A client that does what can't be left out."""

    def __init__(self, plan: Plan) -> None:
        self._microphone, self._speaker = Microphone(plan), Speaker(plan, threaded=False)
        self._reader = FrameReader()
        context = ssl.create_default_context(cafile=plan.ca)
        plain = socket.create_connection(("127.0.0.1", plan.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wire = context.wrap_socket(plain, server_hostname="127.0.0.1")
        key = b64encode(os.urandom(16))
        self._wire.sendall(
            b"GET /v1/realtime?model=bench HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
        )
        response = b""
        while b"\r\n\r\n" not in response:
            response += self._wire.recv(_RECEIVE_BYTES)
        for _ in self._reader.feed(response.partition(b"\r\n\r\n")[2]):
            continue
        self._wire.sendall(masked_frame(UPDATE))
        self._until(b'"session.updated"')

    def turn(self, talk_s: float) -> dict[str, float]:
        """Ask and hear the answer out; CPU ms, and seconds of sound, of both."""
        meter = Meter()
        for chunk in self._microphone.chunks(talk_s):
            encoded = binascii.b2a_base64(chunk, newline=False)
            self._wire.sendall(masked_frame(b'{"type":"input_audio_buffer.append","audio":"' + encoded + b'"}'))
        self._wire.sendall(masked_frame(_COMMIT))
        (talk_ms, _), meter = meter.spent(), Meter()
        self._wire.sendall(masked_frame(_CREATE))
        pieces = self._until(b'"response.done"')
        self._speaker.play_all(pieces)
        answer_s = sum(map(len, pieces)) / said(1)
        return {"talk_ms": talk_ms, "talk_s": talk_s, "answer_ms": meter.spent()[0], "answer_s": answer_s}

    def _until(self, kind: bytes) -> list[bytes]:
        """The sound that comes before an event of this kind, which stands at the beginning of its text."""
        pieces: list[bytes] = []
        while True:
            for opcode, text in self._reader.feed(self._wire.recv(_RECEIVE_BYTES)):
                if opcode != TEXT:
                    continue
                if text.startswith(b'{"type":"response.output_audio.delta"'):
                    pieces.append(binascii.a2b_base64(text[text.index(b'"delta":"') + 9 : -2]))
                elif kind in text[:60]:
                    return pieces
