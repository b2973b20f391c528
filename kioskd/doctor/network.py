"""The way to the endpoint, step by step: name, route, proxy, TLS, the session itself, and how long it takes."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, wraps
from urllib.parse import urlsplit

import trio

from kioskd.config.addresses import is_loopback
from kioskd.config.schema import Conversation, Endpoint, EndpointKind, in_order
from kioskd.doctor.basics import find_key
from kioskd.doctor.finding import Look, failed, passed, skipped, warned
from kioskd.doctor.patient import Patient
from kioskd.doctor.server_time import ENCRYPTED
from kioskd.endpoints import policy, tcp, tls
from kioskd.endpoints.connection import Connection
from kioskd.endpoints.dial import dial
from kioskd.endpoints.failures import DialError, told_by_endpoint
from kioskd.endpoints.kinds import make_answerer
from kioskd.endpoints.policy import Failure, Kind, OwnerMustAct
from kioskd.endpoints.text.model import ModelError
from kioskd.endpoints.way_in import open_door
from kioskd.endpoints.websocket import WebSocket
from kioskd.here import HERE
from kioskd.realtime.events import SessionError, SessionEvent, SessionReady

RESOLVE_S = 6.0  # the resolver's own two tries of a dead server take longer
PINGS = 3
SLOW_MS = 400.0  # beyond it a visitor feels the way as well as the answer
_NOBODY = {trio.socket.AF_INET: "192.0.2.1", trio.socket.AF_INET6: "2001:db8::1"}  # RFC 5737, RFC 3849

_CREDENTIALS = (policy.KEY_REMEDY, policy.CREDIT_REMEDY, policy.ACCOUNT_REMEDY)
_MODELS = (policy.MODEL_REMEDY,)


def _where(endpoint: Endpoint) -> tuple[str, int]:
    """The host and port that this machine itself connects to."""
    if endpoint.proxy:
        parts = urlsplit(endpoint.proxy)
        return parts.hostname or "", parts.port or tcp.PROXY_PORT
    return _host(endpoint), _port(endpoint)


def _port(endpoint: Endpoint) -> int:
    parts = urlsplit(endpoint.url)
    return parts.port or (443 if parts.scheme in ENCRYPTED else 80)


def _needs_network(look: Callable[[Patient], Awaitable[Look]]) -> Callable[[Patient], Awaitable[Look]]:
    """Such a check means nothing where the preferred endpoint is this machine itself."""

    @wraps(look)
    async def looked(patient: Patient) -> Look:
        endpoint = patient.endpoint
        if endpoint is not None and endpoint.kind is EndpointKind.LOCAL:
            return skipped(f"{endpoint.name} answers on this machine")
        return await look(patient)

    return looked


def _host(endpoint: Endpoint) -> str:
    return urlsplit(endpoint.url).hostname or ""


async def _addresses(host: str) -> list[tuple[int, str]]:
    """Its addresses with their families, as the machine's own resolver finds them. Raises OSError."""
    with trio.move_on_after(RESOLVE_S):
        found = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)
        return [(int(family), str(address[0])) for family, _, _, _, address in found]
    raise TimeoutError(f"no answer from the name server within {RESOLVE_S:.0f} s")


@_needs_network
async def name(patient: Patient) -> Look:
    """DNS: has the endpoint's host (or the proxy's) an address?"""
    assert patient.endpoint is not None
    host, _ = _where(patient.endpoint)
    try:
        addresses = await _addresses(host)
    except OSError as error:
        why = error.strerror or str(error)
        return failed(f"{host}: {why}", f"resolvectl status; cat /etc/resolv.conf; getent hosts {host}")
    return passed(f"{host} is {addresses[0][1]}")


@_needs_network
async def route(patient: Patient) -> Look:
    """Is there a way out of this machine?"""
    assert patient.endpoint is not None
    host, _ = _where(patient.endpoint)
    if is_loopback(host):
        return passed(f"{host} is this machine itself")
    try:
        addresses: Sequence[tuple[int, str]] = await _addresses(host)
    except OSError:
        addresses = list(_NOBODY.items())  # any address will do to see whether there is a default route
    for family, address in addresses:
        with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as probe:
            try:
                await probe.connect((address, 9))  # of a datagram socket: chooses a route, and sends nothing
            except OSError:
                continue
            return passed(f"by {probe.getsockname()[0]}")
    return failed("this machine has no route to the network", "ip -br address; ip route; sudo nmcli device status")


@_needs_network
async def proxy(patient: Patient) -> Look:
    """Does the HTTP proxy of the settings let us through?"""
    endpoint = patient.endpoint
    assert endpoint is not None
    if not endpoint.proxy:
        return passed("none in the settings")
    try:
        with trio.fail_after(endpoint.open_timeout_s):
            stream = await tcp.connect(_host(endpoint), _port(endpoint), endpoint.proxy)
    except trio.TooSlowError:
        return failed(f"no answer within {endpoint.open_timeout_s:g} s", "correct endpoints.proxy in the settings")
    except DialError as error:
        return failed(str(error), _remedy(error.failure) or "correct endpoints.proxy in the settings")
    await trio.aclose_forcefully(stream)
    return passed("it connects to the endpoint's host")


@_needs_network
async def encryption(patient: Patient) -> Look:
    """TCP and TLS to the endpoint, its certificate checked."""
    endpoint = patient.endpoint
    assert endpoint is not None
    parts, host = urlsplit(endpoint.url), _host(endpoint)
    port = _port(endpoint)
    try:
        with trio.fail_after(endpoint.open_timeout_s):
            stream = await tcp.connect(host, port, endpoint.proxy)
            if parts.scheme not in ENCRYPTED:
                await trio.aclose_forcefully(stream)
                return passed(f"{host}:{port} is reached, unencrypted as the settings say")
            encrypted = await tls.encrypt(stream, host, endpoint.extra_ca)
    except trio.TooSlowError:
        wait = f"{host}:{port}: no connection within {endpoint.open_timeout_s:g} s"
        return failed(wait, f"does a firewall block it? curl -v https://{host}:{port}/")
    except DialError as error:
        return failed(str(error), _remedy(error.failure) or f"curl -v https://{host}:{port}/")
    await trio.aclose_forcefully(encrypted)
    return passed(f"{host}:{port}, with a certificate that is trusted")


async def key(patient: Patient) -> Look:
    """Is the key accepted? (Whatever else keeps a session from opening is told here, unless it is the model.)"""
    failure = await _try_session(patient)
    if failure is None:
        return passed(patient.notes["session"])
    if _remedy(failure) in _MODELS:
        return passed("it is")
    return failed(failure.message, _remedy(failure) or "kioskd doctor (again, in a minute: it may mend by itself)")


async def model(patient: Patient) -> Look:
    """Is the model accepted?"""
    endpoint = patient.endpoint
    assert endpoint is not None
    failure = await _try_session(patient)
    if endpoint.kind is EndpointKind.LOCAL:
        return skipped(f"{endpoint.name} needs none")
    if endpoint.kind is not EndpointKind.REALTIME and failure is None:
        return skipped(f"the first question will show: kioskd talk QUESTION.wav --endpoint {endpoint.name}")
    if failure is None:
        return passed(f"{endpoint.model or 'of the address'}")
    return failed(failure.message, _remedy(failure))


@_needs_network
async def round_trip(patient: Patient) -> Look:
    """How long a message takes to the endpoint and back."""
    if patient.endpoint is not None and patient.endpoint.kind is not EndpointKind.REALTIME:
        return skipped("not measured: its connections are opened with the questions")
    pings = patient.notes.get("pings-ms")
    if not pings:
        return skipped("not measured: the running kiosk holds the session")
    middle = statistics.median(pings)
    text = f"{middle:.0f} ms"
    if middle > SLOW_MS:
        return warned(f"{text}: answers begin late", "use a cable, a better Wi-Fi, or an endpoint that is nearer")
    return passed(text)


async def others(patient: Patient) -> Look:
    """The endpoints that stand in for the first one."""
    assert patient.settings is not None
    rest = in_order(patient.settings.endpoints)[1:]
    if not rest:
        return skipped("there is only one endpoint")
    troubles: list[str] = []
    for endpoint in rest:
        try:
            failure = await would_answer(patient, endpoint, [])
        except ValueError as error:
            failure = Failure(Kind.KEY, str(error))
        if failure is not None:
            troubles.append(f"{endpoint.name}: {failure.message}")
    if troubles:
        return warned("; ".join(troubles), "mend it, or take it out of the settings")
    return passed(", ".join(endpoint.name for endpoint in rest))


async def _try_session(patient: Patient) -> Failure | None:
    """Open a session as the kiosk would, once; a running kiosk that is connected has shown it already."""
    notes, endpoint = patient.notes, patient.endpoint
    assert endpoint is not None
    if "failure" not in notes:
        link = (patient.status or {}).get("link", {})
        if link.get("state") == "up" and link.get("endpoint") == endpoint.name:
            notes["session"], notes["failure"] = "the running kiosk is connected", None
        else:
            pings: list[float] = []
            realtime = endpoint.kind is EndpointKind.REALTIME
            notes["session"], notes["pings-ms"] = "a session opens" if realtime else "it would answer", pings
            notes["failure"] = await would_answer(patient, endpoint, pings)
    failure: Failure | None = notes["failure"]
    return failure


async def would_answer(patient: Patient, endpoint: Endpoint, pings_ms: list[float]) -> Failure | None:
    """Whether an endpoint would take a question. Raises ValueError, in words, for a key that isn't there."""
    if endpoint.kind is EndpointKind.REALTIME:
        return await open_session(endpoint, find_key(patient, endpoint), pings_ms)
    find_key(patient, endpoint)
    assert patient.settings is not None
    answerer = make_answerer(endpoint, patient.settings.conversation, partial(find_key, patient), HERE)
    failure = Failure(Kind.SILENCE, f"no answer within {endpoint.open_timeout_s + endpoint.setup_timeout_s:g} s")
    with trio.move_on_after(endpoint.open_timeout_s + endpoint.setup_timeout_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answerer.run)
            try:
                await answerer.check()
            except ModelError as error:
                failure = error.failure
            else:
                nursery.cancel_scope.cancel()
                return None
            nursery.cancel_scope.cancel()
    return failure


async def open_session(endpoint: Endpoint, opens: str, pings_ms: list[float]) -> Failure | None:
    """None once the endpoint has taken the session's settings; nothing is asked, so nothing is charged."""
    try:
        door = await open_door(endpoint, opens)
        async with dial(endpoint, door.headers, door.url) as socket:
            connection: Connection

            def see(event: SessionEvent) -> None:
                match event:
                    case SessionReady():
                        nursery.start_soon(_measure, socket, pings_ms, connection.stop)
                    case SessionError(code, message, fatal, setting_up) if fatal:
                        connection.fail(told_by_endpoint(code, door.hide(message), setting_up))

            async with trio.open_nursery() as nursery:
                connection = Connection(socket, endpoint, Conversation(), lambda: None, see)
                failure = await connection.run()
                nursery.cancel_scope.cancel()
            return failure
    except DialError as error:
        return error.failure


async def _measure(socket: WebSocket, pings_ms: list[float], then: Callable[[], None]) -> None:
    with trio.move_on_after(5):
        for _ in range(PINGS):
            began = trio.current_time()
            await socket.ping()
            pings_ms.append((trio.current_time() - began) * 1000)
    then()


def _remedy(failure: Failure) -> str:
    """What the owner can do about it, by the one table of the link."""
    verdict = policy.judge(failure, 0, 0.0)
    return verdict.remedy if isinstance(verdict, OwnerMustAct) else ""
