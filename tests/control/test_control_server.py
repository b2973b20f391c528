"""The control socket and clients of every kind: polite, hostile, dead, and too many."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio
from control_parts import served

from kioskd.control import server
from kioskd.control.client import ControlError, NotRunningError, RefusalError, Stream, ask
from kioskd.control.door import Door, DoorTakenError, open_door
from kioskd.control.peer import Peer, Right
from kioskd.control.protocol import MAX_REQUEST_BYTES, Fields, socket_places
from kioskd.control.server import Control, RefusedError, Send, Verb

ROOT = Path(__file__).parents[2]
given_up: list[str] = []


async def echo(fields: Fields, send: Send) -> Fields:
    return {"said": fields.get("text")}


async def crash(fields: Fields, send: Send) -> Fields:
    raise ZeroDivisionError("with details that are nobody's business")


async def refuse(fields: Fields, send: Send) -> Fields:
    raise RefusedError("not today; try tomorrow")


async def hang(fields: Fields, send: Send) -> Fields:
    try:
        await trio.sleep_forever()
    finally:
        given_up.append("hang")


async def count(fields: Fields, send: Send) -> Fields:
    for number in range(3):
        await send({"number": number})
    return {"number": "last"}


async def flood(fields: Fields, send: Send) -> Fields:
    while True:
        await send({"padding": "x" * 10_000})


async def soon(fields: Fields, send: Send) -> Fields:
    await trio.sleep(0.05)
    return {"came": True}


def verbs(control: Control) -> None:
    control.add("echo", Verb(echo))
    control.add("crash", Verb(crash))
    control.add("refuse", Verb(refuse))
    control.add("secret", Verb(echo, right=Right.ROOT))
    control.add("hang", Verb(hang, limit_s=math.inf, for_client=True, at_once=1))
    control.add("slow", Verb(hang, limit_s=0.05))
    control.add("count", Verb(count))
    control.add("flood", Verb(flood, limit_s=math.inf))
    control.add("soon", Verb(soon, for_client=True))


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    given_up.clear()
    with served(tmp_path / "control.sock", extra=verbs) as path:
        yield path


def raw(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(path))
    return client


def answer_to(client: socket.socket) -> dict[str, Any]:
    """The line, after which kioskd closes."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = client.recv(65_536)
        assert chunk, "no answer"
        line += chunk
    answer: dict[str, Any] = json.loads(line)
    assert answer["v"] == 1
    return answer


def test_an_answer_and_a_stream(path: Path) -> None:
    assert ask(path, "echo", text="ü\n")["said"] == "ü\n"
    with Stream(path, "count") as lines:
        assert [line["number"] for line in lines] == [0, 1, 2, "last"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"v":1,"do":"dance"}', "doesn't know how to 'dance'; it knows count, crash, echo"),
        (b'{"v":2,"do":"echo"}', "version 1"),
        (b'{"do":"echo"}', "version 1"),
        (b'{"v":1}', '"do"'),
        (b'{"v":1,"do":["echo"]}', '"do"'),
        (b"[1]", "object"),
        (b"hello", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 50_000, "JSON"),
        (b"", "JSON"),
        (b'{"v":1,"do":"refuse"}', "not today; try tomorrow"),
        (b'{"v":1,"do":"crash"}', "crash failed: ZeroDivisionError; see journalctl"),
        (b'{"v":1,"do":"slow"}', "took longer"),
    ],
)
def test_what_can_not_be_done_is_told_and_the_next_one_is_served(path: Path, line: bytes, complaint: str) -> None:
    with raw(path) as client:
        client.sendall(line + b"\n")
        answer = answer_to(client)
    assert answer["ok"] is False and complaint in answer["error"] and "nobody's business" not in answer["error"]
    assert ask(path, "echo", text="still here")["ok"]


def test_a_gigabyte_is_not_taken_in(path: Path) -> None:
    with raw(path) as client:
        sent = 0
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while sent < 1_000_000_000:
                sent += client.send(b"x" * 1_000_000)
        assert sent < 100 * MAX_REQUEST_BYTES
        assert "longer than" in answer_to(client)["error"]
    assert ask(path, "echo", text=1)["ok"]


def test_a_client_that_sends_nothing_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.05)
    with served(tmp_path / "c", extra=verbs) as path, raw(path) as client:
        client.sendall(b'{"v":1,')
        assert "no request came" in answer_to(client)["error"]


def test_a_client_that_reads_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_S", 0.05)
    monkeypatch.setattr(server, "MAX_CLIENTS", 1)
    with served(tmp_path / "c", extra=verbs) as path, raw(path) as client:
        client.sendall(b'{"v":1,"do":"flood"}\n')
        while True:
            try:
                assert ask(path, "echo", text=1)["ok"]  # there is room again
                break
            except RefusalError as error:
                assert "busy" in str(error)


def test_two_hundred_that_hang_are_each_told_something_and_then_it_is_as_before(path: Path) -> None:
    clients = [raw(path) for _ in range(200)]
    try:
        for client in clients[server.MAX_CLIENTS :]:
            assert "busy with 16 other clients" in answer_to(client)["error"]
        with pytest.raises(RefusalError, match="try again"):
            ask(path, "echo")
    finally:
        for client in clients:
            client.close()
    while True:
        try:
            assert ask(path, "echo", text=1)["ok"]
            break
        except RefusalError:
            continue


def test_two_hundred_questions_at_once_have_two_hundred_answers(path: Path) -> None:
    barrier = threading.Barrier(50)

    def asks(number: int) -> bool:
        if number < 50:
            barrier.wait(30)
        try:
            assert ask(path, "echo", timeout_s=60, text=number)["said"] == number
        except RefusalError as error:
            assert "busy" in str(error)
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        answered = list(pool.map(asks, range(200)))
    assert len(answered) == 200 and sum(answered) >= server.MAX_CLIENTS


def test_what_is_done_for_a_client_ends_with_it(path: Path) -> None:
    with raw(path) as client:
        client.sendall(b'{"v":1,"do":"hang"}\n')
        while True:  # until it is under way
            try:
                ask(path, "hang", timeout_s=0.05)
            except RefusalError as error:
                assert "for somebody else" in str(error)
                break
            except ControlError:
                continue
        given_up.clear()
    while True:
        try:
            ask(path, "hang", timeout_s=0.2)
        except RefusalError:
            continue
        except ControlError as error:
            assert "it hangs" in str(error)
            break
    assert given_up[0] == "hang"


def test_a_client_that_only_has_nothing_more_to_ask_is_answered(path: Path) -> None:
    with raw(path) as client:
        client.sendall(b'{"v":1,"do":"soon"}\n')
        client.shutdown(socket.SHUT_WR)
        assert answer_to(client)["came"]


# -- the door


def test_a_killed_daemons_socket_is_replaced_and_a_living_ones_never(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    script = (
        "from kioskd.control.door import Door; from pathlib import Path\n"
        f"door = Door(Path({str(path)!r})); print('here', flush=True); input()"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert other.stdout is not None and other.stdout.readline() == b"here\n"
    with pytest.raises(DoorTakenError, match=f"process {other.pid}.*systemctl stop"):
        Door(path)
    other.send_signal(signal.SIGSTOP)  # silent, and not dead
    with pytest.raises(DoorTakenError):
        Door(path)
    assert path.exists()
    other.kill()
    other.wait(30)
    assert path.exists()
    with pytest.raises(NotRunningError, match="systemctl start kioskd"):
        ask(path, "echo")
    with served(path, extra=verbs):
        assert ask(path, "echo", text=1)["ok"]
    with pytest.raises(NotRunningError):
        ask(path, "echo")


def test_what_listens_there_but_is_not_kioskd_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "c"))
        listener.listen()
        threading.Thread(target=lambda: listener.accept()[0].sendall(b"220 mail.example ESMTP\n"), daemon=True).start()
        with pytest.raises(ControlError, match="not kioskd"):
            ask(tmp_path / "c", "status")
        with pytest.raises(ControlError, match="no answer within"):
            ask(tmp_path / "c", "status", timeout_s=0.05)


def test_where_the_socket_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert socket_places({"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/x"}) == [
        Path("/run/a/control.sock")
    ]
    assert socket_places({"XDG_RUNTIME_DIR": "/x"})[1] == Path("/x/kioskd/control.sock")
    monkeypatch.setattr("kioskd.control.protocol.SYSTEM_DIRECTORY", tmp_path / "no" / "run")
    door = open_door({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert door is not None and door.path == tmp_path / "kioskd" / "control.sock"
    assert door.path.parent.stat().st_mode & 0o777 == 0o700 and door.path.stat().st_mode & 0o777 == 0o660
    door.close()


def test_without_a_place_there_is_a_line_and_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kioskd.control.protocol.SYSTEM_DIRECTORY", tmp_path / "no" / "run")
    assert open_door({}) is None
    assert open_door({"RUNTIME_DIRECTORY": str(tmp_path / ("long" * 40))}) is None, "no path of a socket is that long"
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "no control socket, so that `kioskd status` can't ask"
    ] * 2


# -- who may


def test_who_may_do_what() -> None:
    group = 990
    member, stranger = Peer(1, 4711, frozenset({100, group})), Peer(1, 4711, frozenset({100}))
    for right in Right:
        assert Peer(1, 0, frozenset()).may(right, None)
        assert not stranger.may(right, group) and not stranger.may(right, None)
    assert member.may(Right.OWNER, group) and not member.may(Right.ROOT, group)
    assert not member.may(Right.OWNER, None)
    if os.geteuid():
        assert Peer(1, os.geteuid(), frozenset()).may(Right.OWNER, group)
        assert not Peer(1, os.geteuid(), frozenset()).may(Right.ROOT, group)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("mode", "groups", "verb", "expected"),
    [
        (0o660, [], "echo", "PermissionError"),
        (0o666, [], "echo", "user id 65534 may not ask kioskd"),
        (0o666, [4242], "echo", '"ok":true'),
        (0o666, [4242], "secret", "only root may ask"),
    ],
)
def test_another_user_is_known_by_what_the_kernel_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, groups: list[int], verb: str, expected: str
) -> None:
    monkeypatch.setattr(server, "owners_group", lambda: 4242)
    script = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(30)\n"
        f'try: s.connect(\'control.sock\'); s.sendall(b\'{{"v":1,"do":"{verb}"}}\\n\'); print(s.recv(9999))\n'
        "except BrokenPipeError: print(s.recv(9999))\n"
        "except OSError as error: print(type(error).__name__)\n"
    )
    folder = Path(f"/tmp/kioskd-test-{os.getpid()}")  # pytest's own is closed to others
    folder.mkdir()
    folder.chmod(0o755)
    try:
        with served(folder / "control.sock", extra=verbs) as path:
            path.chmod(mode)
            done = subprocess.run(
                ["/usr/bin/env", "-C", str(folder), "python3", "-c", script],
                capture_output=True, text=True, user=65534, group=65534, extra_groups=groups, timeout=30,
            )  # fmt: skip
            assert expected in done.stdout, done
    finally:
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()
