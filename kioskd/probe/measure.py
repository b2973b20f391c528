"""Measures the ways to endpoints one after the other, so that none is in another's way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import trio
from attrs import define, evolve, field, frozen

from kioskd.audio.pcm import ms_of
from kioskd.config.schema import Auth, Endpoint, EndpointKind, Transport
from kioskd.config.secrets import mask_keys
from kioskd.endpoints.http_stream import client_for
from kioskd.endpoints.pending import MINUTE_S, RequestWindow
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text.checking import KeyCheck
from kioskd.endpoints.text.model import ModelError
from kioskd.probe import ceiling
from kioskd.probe.askers import Asker, Question, asker
from kioskd.probe.handshake import shake
from kioskd.probe.results import Asked, EndpointResult, KeyResult, Series, Steps, Takes, WayResult
from kioskd.probe.ways import Way, ways_of

FAILURES_MAX = 3  # on end: then the rest isn't asked
ELSEWHERE = frozenset({404, 405, 501})  # there is no such door
_FUTILE = frozenset({401, 402, 403}) | ELSEWHERE  # asking again changes nothing
_NO_KEY = frozenset({401, 402})  # of a key check; 403 can mean that this key may ask, but not list models
_NO_WAY = (Kind.DNS, Kind.CONNECT, Kind.TLS, Kind.PROXY, Kind.KEY, Kind.SETTINGS)
_MARGIN_S = 0.05

ReadKey = Callable[[Endpoint], str]


@frozen
class Plan:
    """`turns` questions a way, one after the other; and so many by each of `at_once` at a time, if more than 1."""

    turns: int = 5
    at_once: int = 1
    handshake_only: bool = False

    @property
    def questions(self) -> int:
        """Of one way."""
        if self.handshake_only:
            return 0
        return self.turns * (1 + self.at_once if self.at_once > 1 else 1)


@frozen
class Bill:
    """What it comes to at most, before it begins. `unpriced`: whose price isn't known."""

    questions: int
    cost: int
    unpriced: tuple[str, ...]


def bill(endpoints: Sequence[Endpoint], question: Question, plan: Plan) -> Bill:
    """A stream that is held back is asked for again in one piece: it counts twice."""
    questions, cost, unpriced = 0, 0, []
    for endpoint in endpoints:
        for way in ways_of(endpoint):
            streams = way.endpoint.kind is EndpointKind.CHAT and way.endpoint.transport is Transport.SSE
            asked = plan.questions * (2 if streams else 1)
            one = ceiling.most(way.endpoint, way.takes, question.told, ms_of(len(question.pcm)))
            questions += asked
            cost += asked * (one or 0)
            if one is None and endpoint.name not in unpriced:
                unpriced.append(endpoint.name)
    return Bill(questions, cost, tuple(unpriced))


async def measure(
    endpoints: Sequence[Endpoint],
    question: Question,
    plan: Plan,
    read_key: ReadKey,
    tell: Callable[[str], None] = lambda _: None,
) -> list[EndpointResult]:
    """Each of them. Raises nothing: what fails is a result."""
    return [await _Probe(endpoint, question, plan, read_key, tell).run() for endpoint in endpoints]


@define(eq=False)
class _Probe:
    """One endpoint's."""

    _endpoint: Endpoint
    _question: Question
    _plan: Plan
    _read_key: ReadKey
    _tell: Callable[[str], None]
    _key: str = field(default="", init=False, repr=False)
    _requests: RequestWindow = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._requests = RequestWindow(self._endpoint.requests_per_minute)

    async def run(self) -> EndpointResult:
        endpoint = self._endpoint
        result = EndpointResult(
            endpoint.name,
            endpoint.kind.value,
            endpoint.model,
            urlsplit(endpoint.url).hostname or "this machine",
            unverified=endpoint.unverified,
        )
        self._tell(f"{endpoint.name} ...")
        checked, futile = await self._check_key()
        ways = ways_of(endpoint)
        if futile:
            absent = [WayResult(way.label, way.takes, way.configured, absent="not asked") for way in ways[:1]]
            return evolve(result, key=checked, ways=tuple(absent))
        return evolve(result, key=checked, ways=tuple([await self._measure(way) for way in ways]))

    async def _check_key(self) -> tuple[KeyResult, bool]:
        """Whether it is taken, and whether there is no use in going on."""
        endpoint = self._endpoint
        try:
            self._key = self._read_key(endpoint)
        except (OSError, ValueError) as error:
            return KeyResult(failure=str(error)), True
        if not self._key:  # a broker that wants none, or this machine
            return KeyResult(), False
        # What opens a socket by its address is a header's to plain requests, with every seller that is known.
        in_address = endpoint.auth is Auth.QUERY
        asked = evolve(endpoint, auth=Auth.AUTO) if in_address else endpoint
        check = KeyCheck(asked)
        client = client_for(asked)
        try:
            with trio.fail_after(endpoint.http.answer_timeout_s):
                await check.run(client, self._key)
        except ModelError as error:
            failure = error.failure
            futile = failure.status in _NO_KEY and not in_address
            return KeyResult(failure=self._said(failure)), failure.kind in _NO_WAY or futile
        except trio.TooSlowError:
            return KeyResult(failure=f"no answer within {endpoint.http.answer_timeout_s:g} s"), False
        finally:
            await client.aclose()
        return KeyResult(check.asked, check.credits), False

    async def _measure(self, way: Way) -> WayResult:
        found = WayResult(way.label, way.takes, way.configured)
        if way.takes is Takes.VOICE and not self._question.pcm and not self._plan.handshake_only:
            return evolve(found, absent=self._question.trouble or "there is no spoken question")
        self._tell(f"{self._endpoint.name}: {way.label} ...")
        steps, failure = await self._shake(way)
        found = evolve(found, steps=tuple(steps))
        if failure is not None:
            return evolve(found, absent=self._absence(way, failure))
        if self._plan.handshake_only:
            return found
        alone, note, failure = await self._alone(way)
        if failure is not None and not way.configured and not alone.answered and failure.status in ELSEWHERE:
            return evolve(found, absent=self._absence(way, failure))
        series = [alone]
        if self._plan.at_once > 1 and alone.answered:
            series.append(await self._at_once(way))
        return evolve(found, series=tuple(series), notes=(note,) if note else ())

    def _absence(self, way: Way, failure: Failure) -> str:
        missing = not way.configured and failure.status in ELSEWHERE
        return f"not there ({failure.status})" if missing else self._said(failure)

    async def _shake(self, way: Way) -> tuple[list[Steps], Failure | None]:
        steps: list[Steps] = []
        if way.endpoint.kind is EndpointKind.LOCAL:
            return steps, None
        for _ in range(self._plan.turns):
            try:
                steps.append(await shake(way.endpoint, self._key))
            except ModelError as error:
                return steps, error.failure
        return steps, None

    async def _alone(self, way: Way) -> tuple[Series, str, Failure | None]:
        asked: list[Asked] = []
        async with asker(way, self._question, lambda: self._key) as one:
            failure = await self._ask_turns(way, one, 1, asked)
            note = one.note
        return Series(self._plan.turns, 1, tuple(asked)), note, failure

    async def _at_once(self, way: Way) -> Series:
        asked: list[Asked] = []

        async def ask(number: int) -> None:
            async with asker(way, self._question, lambda: self._key) as one:
                await self._ask_turns(way, one, 1 + number * self._plan.turns, asked)

        async with trio.open_nursery() as nursery:
            for number in range(self._plan.at_once):
                nursery.start_soon(ask, number + 1)
        return Series(self._plan.turns * self._plan.at_once, self._plan.at_once, tuple(asked))

    async def _ask_turns(self, way: Way, one: Asker, first: int, asked: list[Asked]) -> Failure | None:
        """Ask all of them, unless there is no use in it; the last failure."""
        in_a_row, last = 0, None
        for turn in range(first, first + self._plan.turns):
            try:
                with trio.fail_after(way.endpoint.open_timeout_s):
                    await one.get_ready()
                asked.append(await self._ask(way, one, turn))
            except ModelError as error:
                last = error.failure
                asked.append(Asked(failure=self._said(last)))
            except trio.TooSlowError:
                last = Failure(Kind.SILENCE, f"no connection within {way.endpoint.open_timeout_s:g} s")
                asked.append(Asked(failure=last.message))
            in_a_row = in_a_row + 1 if asked[-1].failure else 0
            if in_a_row == FAILURES_MAX or (in_a_row and last is not None and last.status in _FUTILE):
                break
        return last

    async def _ask(self, way: Way, one: Asker, turn: int) -> Asked:
        while not self._requests.admit(trio.current_time()):
            await trio.sleep(MINUTE_S / self._endpoint.requests_per_minute + _MARGIN_S)
        patience = way.endpoint.http.answer_timeout_s
        spoken_s = ms_of(len(self._question.pcm)) / 1000 / self._question.pace if way.takes is Takes.VOICE else 0.0
        opening_s = 0.0
        if way.endpoint.kind is EndpointKind.REALTIME:
            opening_s = way.endpoint.open_timeout_s + way.endpoint.setup_timeout_s
        with trio.move_on_after(opening_s + spoken_s + patience):
            asked = await one.ask(turn)
            return evolve(asked, failure=self._clean(asked.failure))
        raise ModelError(Failure(Kind.SILENCE, f"no whole answer within {patience:g} s (http.answer_timeout_s)"))

    def _said(self, failure: Failure) -> str:
        return self._clean(failure.message)

    def _clean(self, text: str) -> str:
        return mask_keys(text.replace(self._key, "***") if self._key else text)
