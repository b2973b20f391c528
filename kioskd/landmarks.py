"""The few events that an owner greps the journal for, each under a number of its own (systemd.journal-fields(7)).

`journalctl -u kioskd MESSAGE_ID=...` finds them, whatever their words are. A number never changes its meaning.
To be given as a log call's `extra`. PURE.
"""

from __future__ import annotations

from collections.abc import Mapping

FIELD = "message_id"


def _landmark(number: str) -> Mapping[str, str]:
    return {FIELD: number}


STARTED = _landmark("53462d76ecc64b0cabb674dc97c38eeb")
STOPPED = _landmark("3da11230d594413e91869e32e61e44eb")
LINK_UP = _landmark("508499081a444a7bbf23271af7718b0c")
LINK_LOST = _landmark("9984bc82e73a4d55ad1eb11a564ed6f2")
OWNER_MUST_ACT = _landmark("a3e1871e18844449b7b56ef92be3a7d3")
FAULT = _landmark("512215872e5f4c819309e6bf6d61ce58")
FAULT_OVER = _landmark("bdbc47b04da348789b4caa6e04a8fb1f")
TURN = _landmark("341768c89dfc44bc919f53623b844eab")
VITAL_STALE = _landmark("a636fe2a45984d2099e14e3de5110685")
RELOADED = _landmark("4a9a803752ac4a2194c9b89e8a231986")
