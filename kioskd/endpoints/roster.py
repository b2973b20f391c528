"""The endpoints of the settings, also where the settings change: whose way in is the same keeps its session."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from kioskd.config import schema
from kioskd.config.effect import same_session
from kioskd.endpoints.breaker import Breaker
from kioskd.endpoints.failover import Failover, Member, Watch
from kioskd.endpoints.history import History

if TYPE_CHECKING:
    from kioskd.endpoints.realtime import RealtimeEndpoint
    from kioskd.endpoints.turnwise import TurnwiseEndpoint

    Answering = RealtimeEndpoint | TurnwiseEndpoint

Make = Callable[[schema.Endpoint, schema.Conversation, History], "Answering"]


@frozen(eq=False, repr=False)
class _Known:
    settings: schema.Endpoint
    endpoint: Answering
    member: Member


class Roster(Failover):
    """A failover over the endpoints of the settings, in their order; `make` makes each. They share one conversation.

    Who answers on this machine is the last of them, unless its place is to count (see `schema.in_order`).
    """

    def __init__(
        self,
        endpoints: Sequence[schema.Endpoint],
        conversation: schema.Conversation,
        make: Make,
        watch_network: Watch | None = None,
    ) -> None:
        self._make = make
        self._history = History(conversation)
        self._known: dict[str, _Known] = {}
        super().__init__(self._call_up(endpoints, conversation), watch_network)

    def adjust(self, settings: schema.Settings) -> None:
        """See `kioskd.pulse.Adjustable`. An endpoint with another way in is another one, and connects anew."""
        self._history.settings = settings.conversation
        self.replace(self._call_up(settings.endpoints, settings.conversation))

    def renew(self, names: Collection[str]) -> None:
        """The keys of these were replaced: they count from now on, and a breaker knows nothing of them."""
        for name in names:
            known = self._known[name]
            known.member.breaker.proved()
            if known.member.running:
                known.endpoint.renew()

    def _call_up(self, endpoints: Sequence[schema.Endpoint], conversation: schema.Conversation) -> list[Member]:
        before = self._known
        self._known = {
            wanted.name: self._kept(before.get(wanted.name), wanted, conversation)
            for wanted in schema.in_order(endpoints)
        }
        return [known.member for known in self._known.values()]

    def _kept(self, known: _Known | None, wanted: schema.Endpoint, conversation: schema.Conversation) -> _Known:
        if known is None or not same_session(known.settings, wanted):
            endpoint = self._make(wanted, conversation, self._history)
            limited = wanted.kind is schema.EndpointKind.LOCAL
            return _Known(wanted, endpoint, Member(wanted.name, endpoint, Breaker(wanted.breaker), limited=limited))
        known.endpoint.adjust(wanted, conversation)
        known.member.breaker.settings = wanted.breaker
        return evolve(known, settings=wanted)
