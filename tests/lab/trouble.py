"""Runs inside a machine, with its Python and nothing else: troubles that no command of the system makes.

Each verb but `names` prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SOCKET = "/run/kioskd/control.sock"
SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17  # ptrace(2)
ANY_THREAD = 0x40000000  # __WALL
FOUND_S = 2.0  # a thread whose vital gets so old while it is held is the vital's
GIGABYTE = 1_000_000_000


def names(listen: str, name: str, address: str) -> None:
    """A name server that knows one name. Doesn't return."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((listen, 53))
        while True:
            asked, client = server.recvfrom(4096)
            labels, at = [], 12
            while asked[at]:
                labels.append(asked[at + 1 : at + 1 + asked[at]].decode("ascii", "replace"))
                at += 1 + asked[at]
            question = asked[12 : at + 5]
            known = ".".join(labels).lower() == name
            (kind,) = struct.unpack(">H", asked[at + 1 : at + 3])
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address) if known and kind == 1 else b""
            flags = 0x8580 if known else 0x8583  # else: no such name
            head = asked[:2] + struct.pack(">HHHHH", flags, 1, 1 if answer else 0, 0, 0)
            server.sendto(head + question + answer, client)


def ask(request: bytes, patience_s: float = 5.0) -> dict[str, Any]:
    """One request, one answer. Raises OSError or ValueError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(patience_s)
        peer.connect(SOCKET)
        peer.sendall(request + b"\n")
        received = b""
        while not received.endswith(b"\n") and (chunk := peer.recv(65536)):
            received += chunk
    answer: dict[str, Any] = json.loads(received)
    return answer


def hang(vital: str) -> dict[str, Any]:
    """Stop the one thread of the daemon on which this vital depends, and no other, until the process has ended."""
    pid = int(subprocess.check_output(["systemctl", "show", "-P", "MainPID", "kioskd"]))
    process = Path(f"/proc/{pid}")
    mine = (process / "comm").read_text()
    threads = [int(task.name) for task in sorted((process / "task").iterdir()) if (task / "comm").read_text() == mine]
    for thread in [pid] if vital == "loop" else [thread for thread in threads if thread != pid]:
        began = time.monotonic()
        hold(thread)
        if vital == "loop" or ages(vital):
            while time.monotonic() - began < 90:
                with contextlib.suppress(ChildProcessError):
                    if os.waitpid(thread, ANY_THREAD | os.WNOHANG)[0] == 0:
                        time.sleep(0.05)
                        continue
                return {"ended_after_s": round(time.monotonic() - began, 1)}
            return {"ended_after_s": None}
        trace(DETACH, thread)
    return {"error": f"no thread of the process moves {vital}"}


def ages(vital: str) -> bool:
    """Whether this vital alone stands still now."""
    end = time.monotonic() + 2 * FOUND_S
    while time.monotonic() < end:
        time.sleep(0.2)
        old = [part["name"] for part in ask(b'{"v":1,"do":"status"}')["vitals"] if part["age_s"] > FOUND_S]
        if vital in old:
            return True
    return False


def hold(thread: int) -> None:
    """Stop a thread, as a debugger does."""
    trace(SEIZE, thread)
    trace(INTERRUPT, thread)
    os.waitpid(thread, ANY_THREAD)


def trace(request: int, thread: int) -> None:
    """ptrace(2). Raises OSError."""
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if call(request, thread, None, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def gigabyte() -> dict[str, Any]:
    """Send the control socket 1 GB without a line's end."""
    sent, block = 0, b"x" * 2**20
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(20)
        peer.connect(SOCKET)
        try:
            while sent < GIGABYTE:
                sent += peer.send(block)
            end = "all sent"
        except OSError as error:
            end = type(error).__name__
    return {"sent_bytes": sent, "end": end}


def crowd(number: str, silent_s: str) -> dict[str, Any]:
    """So many clients at once, all of them silent for a while; then each that was let in asks."""
    peers, refused, answered = [], 0, 0
    for _ in range(int(number)):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(3)
        try:
            peer.connect(SOCKET)
        except OSError:
            refused += 1
        peers.append(peer)
    time.sleep(float(silent_s))
    for peer in peers:
        with contextlib.suppress(OSError, ValueError):
            peer.sendall(b'{"v":1,"do":"status"}\n')
    for peer in peers:
        with contextlib.suppress(OSError), peer:
            answered += peer.recv(65536).startswith(b'{"v"')
    return {"clients": len(peers), "refused": refused, "answered": answered}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])), flush=True)
