"""Who runs an action's command for the daemon: a unit of its own behind a socket, or, for development, a child."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from kioskd.config.tool_schema import Action, ToolRunner
from kioskd.tools import command
from kioskd.tools.arguments import BadArgumentsError
from kioskd.tools.command import NobodyKnowsError, NotStartedError, Ran

SOCKET = Path("/run/kioskd-tool.sock")
NETWORK_SOCKET = Path("/run/kioskd-tool-net.sock")
START_S = 10.0  # until a slow Pi has started Python and read the settings
MAX_REPLY_BYTES = 6 * command.MAX_OUTPUT_BYTES + 1024  # escaped


class Runner(Protocol):
    """Runs a command. Always has an end.

    `checks`: it holds the arguments against the action's schema, where a pattern that takes for ever stops nobody else.
    """

    @property
    def checks(self) -> bool: ...

    async def run(self, action: Action, arguments: str) -> Ran:
        """`arguments` is one line of JSON. Raises NotStartedError, NobodyKnowsError, BadArgumentsError."""


class ServiceRunner:
    """Asks systemd's socket; the other side looks the name up by itself (`tools.helper`)."""

    checks = True  # in a process of its own, which RuntimeMaxSec ends

    def __init__(self, quiet: Path = SOCKET, network: Path = NETWORK_SOCKET) -> None:
        self._sockets = {False: quiet, True: network}

    async def run(self, action: Action, arguments: str) -> Ran:
        """See Runner."""
        path = self._sockets[action.network]
        request = b'{"name":' + json.dumps(action.name).encode() + b',"arguments":' + arguments.encode() + b"}\n"
        try:
            stream = await trio.open_unix_socket(path)
        except OSError as error:
            unit = path.with_suffix(".socket").name
            raise NotStartedError(f"no runner at {path} ({error.strerror}): systemctl status {unit}") from None
        reply = bytearray()
        with trio.move_on_after(START_S + action.longest_s) as scope:
            async with stream:
                try:
                    await stream.send_all(request)
                    async for piece in stream:
                        reply += piece
                        if len(reply) > MAX_REPLY_BYTES:
                            raise NobodyKnowsError("its runner said too much")
                except trio.BrokenResourceError:
                    pass  # what it said before that counts
        if scope.cancelled_caught:
            raise NobodyKnowsError("its runner did not answer in time")
        return _ran(bytes(reply))


class ChildRunner:
    """A plain child process of this one, without walls."""

    checks = False  # the daemon does: a pattern that backtracks for ever stops it, as development may

    async def run(self, action: Action, arguments: str) -> Ran:
        """See Runner."""
        return await trio.to_thread.run_sync(partial(command.run, action, arguments))


class NoRunner:
    """Refuses, in words."""

    checks = True  # nothing is run, whatever the arguments

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def run(self, action: Action, arguments: str) -> Ran:
        """See Runner."""
        raise NotStartedError(self._reason)


def runner_for(wanted: ToolRunner, environment: Mapping[str, str]) -> Runner:
    """As the settings say; a service never starts commands as its own children."""
    if wanted is ToolRunner.SERVICE:
        return ServiceRunner()
    if "NOTIFY_SOCKET" in environment:
        return NoRunner("tools.runner: child is for development, and this is a service; set it to service")
    return ChildRunner()


def _ran(reply: bytes) -> Ran:
    refused: BadArgumentsError | NotStartedError
    try:
        said = json.loads(reply)
        if said["ok"]:
            code, output = int(said["code"]), str(said["output"])[: command.MAX_OUTPUT_BYTES]
            return Ran(code, output, said["truncated"] is True, said["timed_out"] is True)
        if "refused" in said:
            refused = BadArgumentsError(str(said["refused"]), str(said["place"])[:200])
        else:
            refused = NotStartedError(str(said["error"])[:500])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NobodyKnowsError("its runner broke off") from None
    raise refused
