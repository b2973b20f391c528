"""What the owner hears at the press of a button."""

from __future__ import annotations

import ipaddress

from kioskd.dialogue.effects import State, View
from kioskd.dialogue.events import Fault, Link
from kioskd.endpoints.port import LinkStatus
from kioskd.owner import announcement, local_address, words


def test_a_healthy_kiosk_tells_name_address_and_state() -> None:
    said = words("lobby", "10.0.0.25", View(State.READY, Link.UP), LinkStatus("openai", Link.UP, "", 0.0))
    where = "This is lobby. Its address is 1 0 point 0 point 0 point 2 5."
    assert said == f"{where} It is connected, endpoint openai. There is no fault."


def test_trouble_is_told_with_its_cause_and_within_bounds() -> None:
    faults = frozenset({Fault.SPEAKER, Fault.BUTTON_STUCK})
    status = LinkStatus("relay", Link.REFUSED, "the key is wrong " * 100, 0.0)
    said = words("lobby", None, View(State.READY, Link.REFUSED, faults), status)
    assert "It has no network address. It is refused, endpoint relay: the key is wrong" in said
    assert said.endswith("There is trouble with the speaker and a button that is stuck.")
    assert len(said) < 400


def test_every_fault_and_every_state_of_the_link_has_words() -> None:
    for link in Link:
        for fault in Fault:
            assert words("x", "::1", View(State.READY, link, frozenset({fault})), LinkStatus("e", link, "", 0.0))


def test_the_address_is_one_or_none() -> None:
    address = local_address()
    assert address is None or ipaddress.ip_address(address)


async def test_it_is_spoken() -> None:
    spoken = await announcement(View(State.READY, Link.DOWN), LinkStatus("relay", Link.DOWN, "no route to host", 0.0))
    assert 4 <= len(spoken) / 48_000 <= 30  # seconds of sound at 24 kHz
