"""A Realtime server in a process of its own, so that its cost is in nobody's figure. It answers from a can.

`python -m kioskd.bench.stub FOLDER` writes a CA into FOLDER, prints its two ports as JSON, and ends with its stdin.
A thread a connection, TLS on loopback. The other port takes lines of JSON: see `control`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import trustme
from attrs import asdict

from kioskd.bench.canned import CREATED, UPDATED, Can, Weather
from kioskd.bench.frames import CLOSE, PING, PONG, TEXT, FrameReader, frame

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST
_RECEIVE_BYTES = 65536


class Stub:
    """The server. `marks` are (what, when) on the monotonic clock, which all processes of a machine share."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.tls)
        self.weather = Weather()
        self.marks: list[tuple[str, float]] = []
        self.can = Can()
        self._open: set[socket.socket] = set()
        self._listener = _listener(0)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def mark(self, what: str) -> None:
        """Something happened just now."""
        self.marks.append((what, time.monotonic()))

    def break_off(self, seconds: float) -> None:
        """Every connection is reset, and none is accepted for so long."""
        self.close()
        timer = threading.Timer(seconds, self.come_back)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """Reset every connection, and accept none."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`, which else would take one more
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connection.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        """Accept again, at the same port."""
        self._listener = _listener(self.port)
        self.mark("back")
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.tls.wrap_socket(connection, server_side=True) as wire:
                self._open.add(wire)
                try:
                    Session(self, wire).run()
                finally:
                    self._open.discard(wire)
        except OSError:
            return  # the client has left


class Session:
    """One client's conversation."""

    def __init__(self, stub: Stub, wire: ssl.SSLSocket) -> None:
        self._stub = stub
        self._wire = wire
        self._reader = FrameReader()
        self._due: deque[tuple[float, str, bool]] = deque()
        self._response = ""
        self._listening = self._sounding = False

    def run(self) -> None:
        """Until the client leaves."""
        self._upgrade()
        self._say(CREATED % self._stub.can.event_id())
        poller = select.poll()
        poller.register(self._wire, select.POLLIN)
        while True:
            if not self._wire.pending():
                wait_s = None if not self._due else max(0.0, self._due[0][0] - time.monotonic())
                if not poller.poll(None if wait_s is None else wait_s * 1000):
                    self._send_due()
                    continue
            came_at = time.monotonic()
            data = self._wire.recv(_RECEIVE_BYTES)
            if not data:
                return
            for opcode, payload in self._reader.feed(data):
                if opcode == CLOSE:
                    self._wire.sendall(frame(payload[:2], CLOSE))
                    return
                if opcode == PING:
                    self._wire.sendall(frame(payload, PONG))
                elif opcode == TEXT:
                    self._hear(json.loads(payload), came_at)
            self._send_due()

    def _upgrade(self) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = self._wire.recv(_RECEIVE_BYTES)
            if not data:
                raise OSError("no upgrade")
            request += data
        name = b"sec-websocket-key:"
        key = request[request.lower().index(name) + len(name) :].split(b"\r\n")[0].strip()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self._wire.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def _say(self, *events: str) -> None:
        self._wire.sendall(b"".join(frame(event.encode()) for event in events))

    def _hear(self, event: dict[str, Any], came_at: float) -> None:
        match event.get("type"):
            case "input_audio_buffer.append":
                if not self._listening:
                    self._listening = True
                    self._stub.marks.append(("append", came_at))
            case "input_audio_buffer.clear":
                self._listening = False
            case "input_audio_buffer.commit":
                self._listening = False
                self._stub.marks.append(("commit", came_at))
                self._say(*self._stub.can.committed())
            case "response.create":
                metadata = json.dumps((event.get("response") or {}).get("metadata"))
                self._due.extend(self._stub.can.answer(metadata, self._stub.weather, time.monotonic()))
                self._response = json.loads(self._due[0][1])["response"]["id"]
                self._sounding = False
            case "response.cancel":
                if self._due:
                    self._due.clear()
                    self._say(self._stub.can.cancelled(self._response))
            case "session.update":
                self._say(UPDATED % self._stub.can.event_id())

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, event, is_sound = self._due.popleft()
            if is_sound and not self._sounding:
                self._sounding = True
                self._stub.mark("sound")
            self._say(event)


def _listener(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=16)


def _control(stub: Stub, listener: socket.socket) -> None:
    """Lines of JSON, one answered by one."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_obey, args=(stub, connection), daemon=True).start()


def _obey(stub: Stub, connection: socket.socket) -> None:
    with connection, connection.makefile("rw") as lines:
        for line in lines:
            order = json.loads(line)
            answer: object = None
            match order:
                case {"do": "marks"}:
                    answer, stub.marks = stub.marks, []
                case {"do": "weather"}:
                    stub.weather = Weather(**{**asdict(stub.weather), **order["weather"]})
                case {"do": "break"}:
                    stub.break_off(order["seconds"])
            lines.write(json.dumps(answer) + "\n")
            lines.flush()


def main() -> None:
    """Serve until stdin ends."""
    stub = Stub(Path(sys.argv[1]))
    orders = _listener(0)
    threading.Thread(target=_control, args=(stub, orders), daemon=True).start()
    print(json.dumps({"port": stub.port, "control": orders.getsockname()[1]}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
