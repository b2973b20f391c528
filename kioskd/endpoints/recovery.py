"""How the link is, and what follows from a failure: the wait that it earned, and what owner and log are told."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from kioskd.dialogue.events import Link, LinkChanged
from kioskd.endpoints import policy
from kioskd.endpoints.loud import LoudOnce
from kioskd.endpoints.policy import Failure, Kind, NextEndpoint, OwnerMustAct, Renew, Retry, Wait, backoff_s, judge
from kioskd.endpoints.port import LinkStatus
from kioskd.landmarks import LINK_LOST, LINK_UP, OWNER_MUST_ACT
from kioskd.pulse import Pulse

log = logging.getLogger(__name__)

STEADY_S = 60.0  # a session that held so long was no mere connect: the back-off begins anew
KEY_LOOK_S = 1.0  # while refused: a replaced key is tried at once, not at the next probe
EARLY_S = 1.0  # however many reasons there are to hurry, attempts are so far apart
_IN_THE_WAY = (policy.ACCESS_REMEDY, policy.PROXY_LOGIN_REMEDY, policy.PROXY_REMEDY)
PATIENCE_S = 5.0  # a longer wait is better spent with another endpoint


class Recovery:
    """One endpoint's link. `report` gets each change; `has_new_key` is asked while the old key is refused.

    `is_wanted`: a visitor waits for an answer, or is speaking.
    """

    def __init__(
        self,
        name: str,
        report: Callable[[LinkChanged], None],
        has_new_key: Callable[[], bool],
        is_wanted: Callable[[], bool],
        jitter: Callable[[], float],
    ) -> None:
        self.status = LinkStatus(name, Link.DOWN, "", 0.0)
        self._name = name
        self._report = report
        self._has_new_key = has_new_key
        self._is_wanted = is_wanted
        self._jitter = jitter
        self._attempts = 0  # failures since the last useful event
        self._attempted_at = 0.0
        self._moved_at = -math.inf
        self._hurry = trio.Event()
        self._elsewhere = trio.Event()
        self._outage = LoudOnce(log)

    def pulse(self, heard_at: float = -math.inf) -> Pulse:
        """It moves at each attempt, change, and sign of life of its connection, the last of which came at `heard_at`.

        Inside its back-off it needn't.
        """
        now, status = trio.current_time(), self.status
        if status.next_try_at is not None and now <= status.next_try_at:
            return Pulse(now - self._moved_at, status.line(now))
        return Pulse(now - max(self._moved_at, heard_at, status.next_try_at or -math.inf))

    def begin(self) -> None:
        """Nothing has been tried yet."""
        self._moved_at = trio.current_time()
        self.status = LinkStatus(self._name, Link.DOWN, "", trio.current_time())

    def attempting(self) -> None:
        """An attempt begins. A probe while refused invites nobody to press the button."""
        if self.status.link is not Link.REFUSED:
            self._change(Link.CONNECTING)
        self._attempted_at = self._moved_at = trio.current_time()
        self._hurry, self._elsewhere = trio.Event(), trio.Event()

    def connected(self) -> None:
        """The endpoint takes questions."""
        self._outage.over(f"{self._name}: connected", LINK_UP)
        self._change(Link.UP)

    def proved_useful(self) -> None:
        """More than a connect, which a flapping link has plenty of: back-off and log begin anew."""
        self._attempts = 0
        self._outage.forget()

    def hurry(self) -> None:
        """The network has changed, or somebody waits: a back-off is over, though not a wait that was told."""
        self._hurry.set()

    def network_changed(self) -> None:
        """Hurry; also what a firewall or a proxy refused may be allowed now."""
        self._elsewhere.set()
        self.hurry()

    @property
    def is_late(self) -> bool:
        """Whether an attempt has been under way for so long that a new one may do better."""
        return trio.current_time() >= self._attempted_at + EARLY_S

    async def recover(self, failure: Failure, steady_s: float, on_refused: Callable[[str], None]) -> None:
        """Wait as `failure` wants it, after a session of `steady_s`. `on_refused` learns what the owner must do."""
        if steady_s >= STEADY_S:
            self.proved_useful()
        verdict = judge(failure, self._attempts, self._jitter(), self._is_wanted())
        told = f"{self._name}: {failure.message}"
        match verdict:
            case OwnerMustAct(remedy, probe_s):
                told = f"{told}; {remedy}"
                self._outage.tell(told, told, OWNER_MUST_ACT)
                self._change(Link.REFUSED, told, probe_s, leave=True, kind=failure.kind)
                on_refused(told)
                await self._sleep_until_new_key(probe_s, in_the_way=remedy in _IN_THE_WAY)
            case Retry(after_s) | NextEndpoint(after_s):
                self._outage.tell(failure.kind.value, told, LINK_LOST)
                self._change(Link.DOWN, told, after_s, leave=isinstance(verdict, NextEndpoint), kind=failure.kind)
                await self._nap(after_s)
            case Wait(after_s):
                self._outage.tell(failure.kind.value, told, LINK_LOST)
                self._change(Link.DOWN, told, after_s, leave=after_s > PATIENCE_S, kind=failure.kind)
                await trio.sleep(after_s)
            case Renew():
                log.info("%s; a new session begins", told)
                if steady_s < STEADY_S and self._attempts:  # one that expires at once would be renewed in a circle
                    after_s = backoff_s(self._attempts, self._jitter())
                    self._change(Link.DOWN, told, after_s)
                    await trio.sleep(after_s)
        self._attempts += 1

    async def _nap(self, after_s: float) -> None:
        """Until the next attempt is due, or there is a reason to hurry."""
        with trio.move_on_after(after_s):
            await self._hurry.wait()
            await trio.sleep_until(self._attempted_at + EARLY_S)

    async def _sleep_until_new_key(self, longest_s: float, *, in_the_way: bool) -> None:
        with trio.move_on_after(longest_s):
            while not self._has_new_key():
                with trio.move_on_after(KEY_LOOK_S):
                    await (self._elsewhere.wait() if in_the_way else trio.sleep_forever())
                    await trio.sleep_until(self._attempted_at + EARLY_S)
                    return

    def _change(
        self,
        link: Link,
        cause: str = "",
        wait_s: float | None = None,
        leave: bool = False,
        kind: Kind | None = None,
    ) -> None:
        now, before = trio.current_time(), self.status
        self._moved_at = now
        since = before.since if link is before.link else now
        next_try_at = None if wait_s is None else now + wait_s
        why = kind.value if kind is not None else ""
        self.status = LinkStatus(self._name, link, cause, since, next_try_at, leave, why)
        if (link, cause) != (before.link, before.cause):
            self._report(LinkChanged(link, cause))
