"""The other end of a call, in a process of its own: looks the action up in root's settings, and runs its command.

It trusts nobody: what the daemon says is a name and arguments, and both are held against the settings here again.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kioskd.config.load import load
from kioskd.config.places import SETTINGS
from kioskd.config.problems import SettingsError
from kioskd.tools import arguments, command
from kioskd.tools.command import NotStartedError

MAX_REQUEST_BYTES = 8 * arguments.MAX_BYTES  # escaped, it grows
MAX_REQUEST_VALUES = arguments.MAX_VALUES + 2  # the name, and the arguments as one
PATIENCE_S = 5.0  # for a request, which is one line


def settings_path(environment: Mapping[str, str]) -> Path:
    """Root's settings: handed over by systemd (the user of this process is nobody), else where they lie."""
    handed = environment.get("CREDENTIALS_DIRECTORY")
    return Path(handed) / "kioskd.yaml" if handed else SETTINGS


def serve(line: socket.socket, settings: Path, *, network: bool) -> None:
    """Take one request and answer it. `network`: whether commands have a network here."""
    line.settimeout(PATIENCE_S)
    try:
        reply = answer(_request(line), settings, network=network)
    except NotStartedError as error:
        reply = {"ok": False, "error": str(error)[:500]}
    line.settimeout(PATIENCE_S)
    line.sendall(json.dumps(reply).encode() + b"\n")


def answer(request: bytes, settings: Path, *, network: bool) -> dict[str, Any]:
    """What came of it, also that the arguments are refused. Raises NotStartedError where nothing else was run."""
    try:
        asked = arguments.read(request.decode(), MAX_REQUEST_BYTES, MAX_REQUEST_VALUES)
    except (UnicodeDecodeError, arguments.BadArgumentsError) as error:
        raise NotStartedError(f"no request: {error}") from None
    name, given = asked.get("name"), asked.get("arguments")
    if asked.keys() != {"name", "arguments"} or not isinstance(name, str) or not isinstance(given, dict):
        raise NotStartedError("a request is a name and arguments")
    try:
        tools = load(settings, files=False).tools  # this user can't read them all, and has no use for them
    except SettingsError as error:
        raise NotStartedError(f"the settings can't be used: {str(error).splitlines()[0]}") from None
    action = command.action_called(tools, name)
    if action is None:
        raise NotStartedError("no such action in the settings")
    if action.network != network:
        raise NotStartedError(f"the action says network: {str(action.network).lower()}, and this is the other place")
    try:
        given = arguments.read(json.dumps(given, ensure_ascii=False, separators=(",", ":")))
        arguments.hold_against(command.schema_of(tools, action), given)
    except arguments.BadArgumentsError as error:
        return {"ok": False, "refused": str(error), "place": error.place}
    ran = command.run(action, arguments.written(given))
    return {
        "ok": True,
        "code": ran.code,
        "output": ran.output,
        "truncated": ran.truncated,
        "timed_out": ran.timed_out,
    }


def _request(line: socket.socket) -> bytes:
    request = bytearray()
    try:
        while not request.endswith(b"\n"):
            piece = line.recv(16 * 1024)
            if not piece or len(request) + len(piece) > MAX_REQUEST_BYTES:
                raise NotStartedError("no request, or too long a one")
            request += piece
    except OSError as error:
        raise NotStartedError(f"no request: {os.strerror(error.errno) if error.errno else error}") from None
    return bytes(request)
