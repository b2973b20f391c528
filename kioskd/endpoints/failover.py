"""Several endpoints behind one port: the first that can answer does, and the preferred one again once it can."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio
from attrs import define, evolve

from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged
from kioskd.endpoints.breaker import Breaker, BreakerState
from kioskd.endpoints.loud import LoudOnce
from kioskd.endpoints.play_out import PlayOut
from kioskd.endpoints.port import Endpoint, EndpointEvent, LinkStatus, Report, Utterance
from kioskd.endpoints.recovery import STEADY_S
from kioskd.pulse import Pulse, Pulsing, Reopening

log = logging.getLogger(__name__)

HOME_LOOK_S = 1.0  # while another endpoint than the preferred one serves

Command = Callable[[Endpoint], None]
Watch = Callable[[Callable[[], None]], Awaitable[None]]


@define(eq=False, repr=False)
class Member:
    """One endpoint of the list."""

    name: str
    endpoint: Endpoint
    breaker: Breaker
    scope: trio.CancelScope | None = None  # of its run
    ended: trio.Event | None = None  # set when its last run has said goodbye
    begun: bool = False  # its present run
    link: Link = Link.DOWN
    up_since: float = 0.0
    started_at: float = 0.0
    limited: bool = False  # it answers few questions
    barred: str = ""  # why it may not serve, though it could

    @property
    def running(self) -> bool:
        """Whether it tries to be connected."""
        return self.scope is not None


class Failover:
    """The port over members in the order of preference. One serves; others run only to find out whether they could."""

    def __init__(self, members: Sequence[Member], watch_network: Watch | None = None) -> None:
        self._members = list(members)
        self._watch_network = watch_network
        self._serving = self._members[0]
        self._report: Report | None = None
        self._nursery: trio.Nursery | None = None
        self._link = LinkChanged(Link.DOWN)
        self._unanswered: list[Command] = []  # what the turn under way consists of, for another endpoint to do over
        self._turn: int | None = None
        self._play_out = PlayOut()
        self._changes = LoudOnce(log)
        self._joined = trio.Event()  # there are several

    # The port

    async def run(self, report: Report) -> None:
        """See port."""
        self._report, self._link = report, LinkChanged(Link.DOWN)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._serving.barred:
                    self._heed_bar()
                else:
                    self._start(self._serving)
                if self._watch_network is not None:
                    nursery.start_soon(self._watch_network, self.network_changed)
                nursery.start_soon(self._find_home)
                await trio.sleep_forever()
        finally:
            self._report = self._nursery = None
            for member in self._members:
                member.scope, member.link = None, Link.DOWN

    def begin(self, utterance: Utterance) -> None:
        """See port."""
        if self._serving.barred:
            self._turn, self._unanswered = None, []
            self._heed_bar()
        self._turn, self._unanswered = utterance.turn, []
        self._do(lambda endpoint: endpoint.begin(utterance))

    def ask(self, turn: int) -> None:
        """See port."""
        if turn == self._turn:
            self._do(lambda endpoint: endpoint.ask(turn))

    def continue_answer(self, turn: int) -> None:
        """See port."""
        self._turn, self._unanswered = turn, []
        self._do(lambda endpoint: endpoint.continue_answer(turn))

    def discard(self, turn: int) -> None:
        """See port."""
        self._settle(turn)
        self._serving.endpoint.discard(turn)

    def cancel(self, turn: int) -> None:
        """See port."""
        self._settle(turn)
        self._serving.endpoint.cancel(turn)

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """See port."""
        self._settle(turn)
        self._play_out.stopped()
        self._serving.endpoint.interrupt(turn, heard_ms)

    def forget(self) -> None:
        """See port."""
        self._turn, self._unanswered = None, []
        for member in self._members:
            member.endpoint.forget()

    def network_changed(self) -> None:
        """See port."""
        for member in self._members:
            member.breaker.forgive(trio.current_time())
            if member.running:
                member.endpoint.network_changed()

    def catch_up(self) -> bool:
        """See port."""
        return self._serving.endpoint.catch_up()

    @property
    def status(self) -> LinkStatus:
        """See port."""
        now = trio.current_time()
        breakers = tuple((m.name, "barred" if m.barred else m.breaker.state(now).value) for m in self._members)
        member = self._serving
        if member.barred and not member.running:
            since = member.started_at
            return LinkStatus(member.name, Link.REFUSED, member.barred, since, kind="barred", breakers=breakers)
        if member.running and not member.begun:  # what it says is of a run before
            return LinkStatus(member.name, Link.CONNECTING, self._link.cause, member.started_at, breakers=breakers)
        status = member.endpoint.status
        barred = next((f"{each.name}: {each.barred}" for each in self._members if each.barred), "")
        return evolve(status, breakers=breakers, cause=status.cause or barred)

    @property
    def pulse(self) -> Pulse:
        """See `kioskd.pulse`: that of the one that serves."""
        member = self._serving
        if member.barred and not member.running:
            return Pulse(0.0, member.barred)  # nobody serves, and nothing is to move
        if member.begun and isinstance(member.endpoint, Pulsing):
            return member.endpoint.pulse
        return Pulse(trio.current_time() - member.started_at)

    def reopen(self) -> None:
        """Every member gives up its connection, and begins anew."""
        for member in self._members:
            if isinstance(member.endpoint, Reopening):
                member.endpoint.reopen()

    # The turn

    def _do(self, command: Command) -> None:
        self._unanswered.append(command)
        command(self._serving.endpoint)

    def _settle(self, turn: int) -> None:
        """Nothing of this turn is to be done over."""
        if turn == self._turn:
            self._turn, self._unanswered = None, []

    @property
    def _idle(self) -> bool:
        return self._turn is None and self._play_out.over(trio.current_time())

    # The members

    def prefer(self, names: Sequence[str], barred: Mapping[str, str]) -> None:
        """This order of preference from now on. Who is `barred` serves nobody, for the cause given.

        A turn under way ends where it is; the next one begins with who may serve, or the link is refused.
        """
        place = {name: number for number, name in enumerate(names)}
        self._members.sort(key=lambda member: place.get(member.name, len(place)))
        for member in self._members:
            member.barred = barred.get(member.name, "")
        if self._nursery is None:
            self._serving = next((each for each in self._members if not each.barred), self._members[0])
        elif self._idle:
            self._heed_bar()

    def _heed_bar(self) -> None:
        """One that is barred and serves makes room, or nobody serves."""
        if self._nursery is None:
            return
        member = self._serving
        if not member.barred:
            if not member.running:  # it was the last that could have served
                self._start(member)
                self._tell(LinkChanged(Link.CONNECTING))
            return
        successor = self._better_one()
        if successor is not None:
            self._hand_over(successor, member.barred)
        else:
            self._stop(member)
            member.link = Link.DOWN
            self._tell(LinkChanged(Link.REFUSED, member.barred))

    def replace(self, members: Sequence[Member]) -> None:
        """These from now on, preferably while idle. Who stays keeps its connection, and who goes says goodbye."""
        gone = [member for member in self._members if member not in members]
        self._members = list(members)
        if self._serving in gone:
            if self._turn is not None:
                self._serving.endpoint.discard(self._turn)
            now = trio.current_time()
            self._serving = next((member for member in self._members if _could_serve(member, now)), self._members[0])
            if self._nursery is not None:
                self._take_up()
        for member in gone:
            self._stop(member)
        if len(self._members) > 1:
            self._joined.set()
        else:
            self._joined = trio.Event()

    def _take_up(self) -> None:
        """The one that serves from now on takes over what there is to do."""
        member = self._serving
        if not member.running:
            self._start(member)
        is_up = member.link is Link.UP and member.endpoint.catch_up()
        self._tell(LinkChanged(Link.UP if is_up else Link.CONNECTING))
        for command in self._unanswered:
            command(member.endpoint)

    def _start(self, member: Member) -> None:
        assert self._nursery is not None
        before, member.ended = member.ended, trio.Event()
        member.scope, member.link = trio.CancelScope(), Link.DOWN
        member.begun, member.started_at = False, trio.current_time()
        self._nursery.start_soon(self._run, member, member.scope, before, member.ended)

    async def _run(self, member: Member, scope: trio.CancelScope, before: trio.Event | None, ended: trio.Event) -> None:
        try:
            with scope:
                if before is not None:
                    await before.wait()
                member.begun = True
                await member.endpoint.run(lambda event: self._take(member, scope, event))
        finally:
            ended.set()

    def _stop(self, member: Member) -> None:
        if member.scope is not None:
            member.scope.cancel()
            member.scope = None
            if member.link is Link.UP:  # a refused one stays known as refused
                member.link = Link.DOWN

    def _take(self, member: Member, scope: trio.CancelScope, event: EndpointEvent) -> None:
        if member.scope is not scope:
            return  # it is saying goodbye
        match event:
            case LinkChanged(link):
                self._note_link(member, link)
                if member is self._serving:
                    self._pass_on_link(event)
                elif link is Link.DOWN and not member.breaker.allows(trio.current_time()):
                    self._stop(member)  # the probe has failed; the next one is when its breaker says so
                return
            case AnswerAudio(turn, _, duration_ms):
                member.breaker.proved()
                if member is self._members[0]:
                    self._changes.forget()
                self._play_out.sounded(duration_ms, trio.current_time())
                self._settle(turn)
            case AnswerEnded(turn, ending):
                if ending is Ending.FAILED:
                    member.breaker.failed(trio.current_time())
                self._settle(turn)
        if member is self._serving:
            self._tell(event)

    def _note_link(self, member: Member, link: Link) -> None:
        now, before = trio.current_time(), member.link
        member.link = link
        if link is Link.UP:
            member.up_since = now
            if not member.breaker.allows(now):  # a refused one whose key was replaced
                member.breaker.forgive(now)
        elif link in (Link.DOWN, Link.REFUSED):
            if before is Link.UP and now - member.up_since >= STEADY_S:
                member.breaker.proved()
            status = member.endpoint.status
            member.breaker.failed(now)
            if link is Link.REFUSED:
                member.breaker.open(now)
            elif status.leave:
                member.breaker.open(now, status.next_try_at or now)

    def _pass_on_link(self, event: LinkChanged) -> None:
        """Another takes over, or the dialogue learns how the link is."""
        successor = self._better_one()
        if successor is not None:
            self._hand_over(successor, event.cause)
        else:
            self._tell(event)

    def _better_one(self) -> Member | None:
        """The first that could serve, where the one that serves can't and had its chances."""
        now, serving = trio.current_time(), self._serving
        has_chances = serving.link is not Link.REFUSED and serving.breaker.allows(now)
        if not serving.barred and (serving.link not in (Link.DOWN, Link.REFUSED) or has_chances):
            return None
        return next((member for member in self._members if _could_serve(member, now)), None)

    def _hand_over(self, successor: Member, cause: str) -> None:
        predecessor, self._serving = self._serving, successor
        self._changes.tell(predecessor.name, f"{cause}; {successor.name} answers from now on")
        if self._turn is not None:
            predecessor.endpoint.discard(self._turn)
        if predecessor.link is not Link.REFUSED:  # a refused one looks for its key by itself
            self._stop(predecessor)
        if not successor.running:
            self._start(successor)
        is_up = successor.link is Link.UP and successor.endpoint.catch_up()
        self._tell(LinkChanged(Link.UP if is_up else Link.CONNECTING, cause))
        for command in self._unanswered:
            command(successor.endpoint)

    def _tell(self, event: EndpointEvent) -> None:
        if isinstance(event, LinkChanged):
            event = evolve(event, limited=self._serving.limited)
            if event == self._link:
                return
            self._link = event
        if self._report is not None:
            self._report(event)

    async def _find_home(self) -> None:
        """While another serves, see whether a preferred one can again; go back while nobody speaks or waits."""
        while True:
            if len(self._members) > 1:
                await trio.sleep(HOME_LOOK_S)
            else:
                await self._joined.wait()
            now = trio.current_time()
            if self._serving.barred:
                if self._idle:
                    self._heed_bar()
                continue
            successor = self._better_one()
            if successor is not None:  # its time to be left alone is over
                self._hand_over(successor, self._link.cause)
            for member in self._members[: self._members.index(self._serving)]:
                if member.barred:
                    self._stop(member)
                elif not member.running and member.breaker.state(now) is not BreakerState.OPEN and self._idle:
                    self._start(member)
                elif member.running and member.link is Link.UP and self._idle and member.endpoint.catch_up():
                    self._go_home(member)
                    break

    def _go_home(self, member: Member) -> None:
        away, self._serving = self._serving, member
        self._changes.over(f"{member.name}: answers again, in place of {away.name}")
        for other in self._members[self._members.index(member) + 1 :]:
            self._stop(other)
        self._tell(LinkChanged(Link.UP))


def _could_serve(member: Member, now: float) -> bool:
    return not member.barred and member.link is not Link.REFUSED and member.breaker.allows(now)
