"""A secret from standard input: kept for the next start, handed to the running kiosk, and shown nowhere."""

from __future__ import annotations

import argparse
import errno
import io
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from kioskd import secrets_store
from kioskd.commands import secret
from kioskd.composition import secret_verb, take_secret
from kioskd.config.schema import Endpoint, KeySource, Settings, Webhook
from kioskd.control import client
from kioskd.control.client import ControlError, NotRunningError
from kioskd.control.peer import Peer, Right
from kioskd.control.server import RefusedError
from kioskd.handed import Handed, users_of
from kioskd.secrets_store import MAX_NAMES, SecretsStore, StoreError

ROOT = Path(__file__).parents[2]
KEY = "hsa-q8sT0pSecret1234567890"
CREDS = """#!/bin/sh
[ "$1 $2 $3 $4" = "encrypt --name=$WANTED - -" ] || exit 2
echo "sealed for this machine"
cat | rev
"""
SETTINGS = Settings(
    (
        Endpoint("lobby", "wss://a/", "m", key=KeySource("api-key", "/etc/kioskd/key")),
        Endpoint("spare", "wss://b/", "m", key=KeySource("spare-key")),
    ),
    webhook=Webhook(KeySource("hook")),
)


@pytest.fixture
def creds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A `systemd-creds` that seals; before it is called, one that can't."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "systemd-creds"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def can(name: str) -> None:
        program.write_text(CREDS)
        monkeypatch.setenv("WANTED", name)

    return can


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / "etc").rglob("*") if path.is_file())


def drop_in(root: Path, name: str) -> list[str]:
    return (root / "etc/systemd/system/kioskd.service.d" / f"secret-{name}.conf").read_text().splitlines()[1:]


def test_where_nothing_can_be_encrypted_it_is_a_file_for_root_only(tmp_path: Path, creds: object) -> None:
    stored = SecretsStore(tmp_path).keep("api-key", KEY)
    assert stored.path == tmp_path / "etc/credstore/kioskd-api-key" and not stored.encrypted
    assert stored.path.read_text() == KEY
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.path.parent.stat().st_mode) == 0o700
    assert drop_in(tmp_path, "api-key") == ["[Service]", "LoadCredential=api-key:kioskd-api-key"]


def test_an_encrypted_one_takes_the_place_of_a_plain_one_and_the_other_way_round(
    tmp_path: Path, creds: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    SecretsStore(tmp_path).keep("spare-key", "old-" + KEY)
    creds("spare-key")
    stored = SecretsStore(tmp_path).keep("spare-key", KEY)
    assert stored.encrypted and KEY not in stored.path.read_text() and KEY[::-1] in stored.path.read_text()
    assert drop_in(tmp_path, "spare-key") == ["[Service]", "LoadCredentialEncrypted=spare-key:kioskd-spare-key"]
    folder = "etc/systemd/system/kioskd.service.d/secret-spare-key.conf"
    assert files(tmp_path) == ["etc/credstore.encrypted/kioskd-spare-key", folder]
    monkeypatch.setenv("WANTED", "nothing")
    assert not SecretsStore(tmp_path).keep("spare-key", KEY).encrypted
    assert files(tmp_path) == ["etc/credstore/kioskd-spare-key", folder]


def test_more_secrets_than_a_service_starts_with_are_refused(tmp_path: Path, creds: object) -> None:
    store = SecretsStore(tmp_path)
    for number in range(MAX_NAMES):
        store.keep(f"key-{number}", KEY)
    before = files(tmp_path)
    with pytest.raises(StoreError, match=rf"sudo rm .*secret-NAME\.conf .*key-{MAX_NAMES - 1}"):
        store.keep("one-more", KEY)
    assert files(tmp_path) == before
    assert not store.keep("key-3", KEY + "0").encrypted, "one that is kept already may be replaced"


@pytest.mark.parametrize("name", ["", "../key", "a b", "Key", "-x", "x" * 65, "a/b", "x\n"])
def test_a_name_is_a_plain_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="no name of a secret"):
        SecretsStore(tmp_path).keep(name, KEY)
    assert not (tmp_path / "etc").exists()


def test_a_disk_that_takes_nothing_is_told_and_the_old_secret_stays(
    tmp_path: Path, creds: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    SecretsStore(tmp_path).keep("api-key", "old-" + KEY)

    def full(*what: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="No space left on device") as raised:
        SecretsStore(tmp_path).keep("api-key", KEY)
    assert KEY not in str(raised.value)
    assert (tmp_path / "etc/credstore/kioskd-api-key").read_text() == "old-" + KEY


def test_a_read_only_etc_is_told_with_its_remedy(
    tmp_path: Path, creds: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: object, *what: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(StoreError, match=r"Read-only.*nothing was changed.*sudo kioskd secret set spare-key") as raised:
        SecretsStore(tmp_path).keep("spare-key", KEY)
    assert KEY not in str(raised.value)
    assert not files(tmp_path)


# The command


class Ran:
    """What the command asked of the kiosk, and what it said."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, object]]] = []
        self.answer: dict[str, object] | Exception = {"used_by": ["lobby"]}

    def ask(self, path: object, verb: str, **fields: object) -> dict[str, object]:
        self.asked.append((verb, fields))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def set(self, *, stdin: str = KEY + "\n", as_json: bool = False) -> int:
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
        return secret.run(argparse.Namespace(action="set", name="api-key", json=as_json, socket=None))


@pytest.fixture
def ran(tmp_path: Path, creds: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ran]:
    ran = Ran()
    monkeypatch.setattr("kioskd.control.client.ask", ran.ask)
    monkeypatch.setattr(secrets_store, "SecretsStore", partial(SecretsStore, tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    yield ran


def test_it_is_kept_and_handed_over_and_shown_to_nobody(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran.set() == 0
    assert ran.asked == [("reload-secret", {"name": "api-key", "value": KEY})]
    assert (tmp_path / "etc/credstore/kioskd-api-key").read_text() == KEY
    said = capsys.readouterr()
    assert "counts now, for lobby" in said.out and KEY not in said.out + said.err
    assert ran.set(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["used_by"] == ["lobby"]
    ran.answer = {"used_by": []}
    assert ran.set() == 0 and "key.credential: api-key" in capsys.readouterr().out


def test_a_kiosk_that_does_not_run_finds_it_at_its_start(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    ran.answer = NotRunningError("not running")
    assert ran.set() == 0
    assert "at its start" in capsys.readouterr().out


def test_what_can_not_be_handed_over_is_kept_all_the_same(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran.answer = ControlError("it hangs")
    assert ran.set() == 1
    assert "it hangs" in capsys.readouterr().err
    assert (tmp_path / "etc/credstore/kioskd-api-key").exists()


@pytest.mark.parametrize("stdin", ["", "  \n", "two words", "a\nb", "kéy", "x" * 20_000])
def test_what_is_no_secret_is_refused(ran: Ran, tmp_path: Path, stdin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran.set(stdin=stdin) == 1
    assert not ran.asked and not (tmp_path / "etc").exists()
    said = capsys.readouterr().err
    assert said and not (stdin.strip() and stdin in said)


def test_only_root_may(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ran.set() == 1 and not ran.asked
    assert secret_verb(Handed({}), Renewed(), lambda: SETTINGS).right is Right.ROOT  # type: ignore[arg-type]
    assert not Peer(1, os.getuid() or 1000, frozenset({5})).may(Right.ROOT, 5)


# The running kiosk


class Renewed:
    def __init__(self) -> None:
        self.names: list[str] = []

    def renew(self, names: list[str]) -> None:
        self.names += names


def test_a_secret_that_is_handed_over_goes_before_where_it_was_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "api-key").write_text("the-old-key")
    handed, endpoints = Handed({"CREDENTIALS_DIRECTORY": str(tmp_path)}), Renewed()
    lobby, spare = SETTINGS.endpoints
    assert handed.key_of(lobby) == "the-old-key"
    answer = take_secret({"name": "api-key", "value": KEY + "\n"}, handed, endpoints, SETTINGS)  # type: ignore[arg-type]
    assert answer == {"used_by": ["lobby"]} and endpoints.names == ["lobby"]
    assert handed.key_of(lobby) == KEY
    with pytest.raises(ValueError, match="spare-key"):
        handed.key_of(spare)
    assert take_secret({"name": "hook", "value": "https://x/"}, handed, endpoints, SETTINGS) == {"used_by": ["webhook"]}  # type: ignore[arg-type]
    assert handed.read(KeySource("hook")) == "https://x/"
    assert users_of("nobody", SETTINGS) == []
    assert KEY not in caplog.text and KEY not in repr(handed) and "https://x/" not in caplog.text


@pytest.mark.parametrize("fields", [{}, {"name": "a"}, {"name": "a", "value": 5}, {"name": "a", "value": "x y"}])
def test_what_is_no_secret_is_not_taken(fields: dict[str, object]) -> None:
    endpoints = Renewed()
    with pytest.raises(RefusedError) as raised:
        take_secret(fields, Handed({}), endpoints, SETTINGS)  # type: ignore[arg-type]
    assert not endpoints.names and "x y" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="the kiosk takes a secret from root only")
def test_a_running_kiosk_without_a_key_goes_on_as_soon_as_it_has_one(tmp_path: Path) -> None:
    config = tmp_path / "kioskd.yaml"
    config.write_text(
        'endpoints: [{name: here, url: "ws://127.0.0.1:9/v1/realtime", model: m, key: {credential: api-key}}]\n'
        'audio: {microphone: "plughw:CARD=NoSuchCard", speaker: "plughw:CARD=NoSuchCard"}\n'
        "panel: {lamp: {kind: none, pins: []}}\n"
    )
    for name in ("run", "state"):
        (tmp_path / name).mkdir()
    environment = {"RUNTIME_DIRECTORY": str(tmp_path / "run"), "STATE_DIRECTORY": str(tmp_path / "state")}
    socket = tmp_path / "run" / "control.sock"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kioskd", "run", "--config", str(config)],
            stderr=log, cwd=ROOT, env={**os.environ, **environment},
        )  # fmt: skip
    try:
        until(lambda: socket.exists() and link(socket)["state"] == "refused")
        assert client.ask(socket, "reload-secret", name="api-key", value=KEY)["used_by"] == ["here"]
        until(lambda: link(socket)["state"] != "refused")
        status = json.dumps(client.ask(socket, "status"))
        client.ask(socket, "flight-dump", reason="asked for")
    finally:
        process.terminate()
        assert process.wait(60) == 0
    said = (tmp_path / "log").read_text()
    assert "the secret api-key was replaced; used by: here" in said
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in status and KEY.encode() not in kept


def link(socket: Path) -> dict[str, str]:
    link: dict[str, str] = client.ask(socket, "status")["link"]
    return link


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(shutil.which("systemd-creds") is None or os.geteuid() != 0, reason="it takes root and systemd")
def test_what_systemd_encrypts_it_can_read_again(tmp_path: Path) -> None:
    stored = SecretsStore(tmp_path).keep("api-key", KEY)
    if not stored.encrypted:
        pytest.skip("systemd-creds can't encrypt on this machine")
    assert KEY.encode() not in stored.path.read_bytes()
    done = subprocess.run(
        ["systemd-creds", "decrypt", "--name=api-key", stored.path, "-"], capture_output=True, check=False
    )
    assert done.stdout == KEY.encode(), done.stderr
