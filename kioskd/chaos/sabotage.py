"""Switches one safeguard off: a run that stays green without it proves nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen


@frozen
class Sabotage:
    """What is replaced by what, and the columns of which one must show it."""

    module: str
    owner: str
    name: str
    instead: Callable[..., Any]
    columns: frozenset[str]


def _had_it_all(*arguments: Any) -> int:
    question = arguments[-1]
    return int(getattr(question, "utterance", question).size)


SABOTAGES = {
    # A new connection believes that the question has been sent: the server hears half of it, or nothing.
    "resend": Sabotage("kioskd.endpoints.connection", "Connection", "_start_of", _had_it_all, frozenset({"lost"})),
    # A turn that is over stays pending: it is sent and asked once more where nobody waits for it.
    "stale-guard": Sabotage(
        "kioskd.endpoints.realtime", "RealtimeEndpoint", "_drop_pending", lambda *_: None, frozenset({"stale"})
    ),
    # A session is replaced in the middle of a turn: its question is asked again, or its answer cut, for nothing.
    "renewal": Sabotage(
        "kioskd.endpoints.realtime", "RealtimeEndpoint", "_is_idle", lambda *_: True, frozenset({"lost", "doubled"})
    ),
    # An event that comes twice counts twice: a piece of an answer is played twice.
    "dedupe": Sabotage("kioskd.realtime.repeats", "Repeats", "is_repeat", lambda *_: False, frozenset({"doubled"})),
}


class NoSuchSafeguardError(RuntimeError):
    """This version has nothing by that name to switch off."""


@contextmanager
def sabotaged(name: str | None) -> Iterator[None]:
    """While in here, that safeguard is off. Raises NoSuchSafeguardError."""
    if name is None:
        yield
        return
    plan = SABOTAGES[name]
    try:
        owner = getattr(importlib.import_module(plan.module), plan.owner)
        found = owner.__dict__[plan.name]
    except (ImportError, AttributeError, KeyError) as error:
        raise NoSuchSafeguardError(f"{plan.module}.{plan.owner}.{plan.name} does not exist: {error}") from error
    instead: Any = plan.instead
    if isinstance(found, property):
        instead = property(plan.instead)
    elif isinstance(found, staticmethod):
        instead = staticmethod(plan.instead)
    with swapped(owner, plan.name, instead):
        yield


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """While in here, an attribute has another value."""
    before = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
