"""The way to the endpoint, step by step: name, route, proxy, TLS, the session itself, and how long it takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import trio
from trio_websocket import WebSocketConnection

from kioskd.config.addresses import is_loopback
from kioskd.config.schema import Conversation, Endpoint
from kioskd.doctor.basics import find_key
from kioskd.doctor.finding import Look, failed, passed, skipped, warned
from kioskd.doctor.patient import Patient
from kioskd.endpoints import policy, tcp, tls
from kioskd.endpoints.connection import Connection
from kioskd.endpoints.dial import DEFAULT_PORTS, dial
from kioskd.endpoints.failures import DialError, told_by_endpoint
from kioskd.endpoints.policy import Failure, Kind, OwnerMustAct
from kioskd.endpoints.way_in import open_door
from kioskd.realtime.events import SessionError, SessionEvent, SessionReady

RESOLVE_S = 6.0  # the resolver's own two tries of a dead server take longer
PINGS = 3
SLOW_MS = 400.0  # beyond it a visitor feels the way as well as the answer
_NOBODY = {trio.socket.AF_INET: "192.0.2.1", trio.socket.AF_INET6: "2001:db8::1"}  # RFC 5737, RFC 3849

_CREDENTIALS = (policy.KEY_REMEDY, policy.CREDIT_REMEDY, policy.ACCOUNT_REMEDY)
_MODELS = (policy.MODEL_REMEDY,)


def _where(endpoint: Endpoint) -> tuple[str, int]:
    """The host and port that this machine itself connects to."""
    parts = urlsplit(endpoint.proxy or endpoint.url)
    return parts.hostname or "", parts.port or (tcp.PROXY_PORT if endpoint.proxy else DEFAULT_PORTS[parts.scheme])


def _host(endpoint: Endpoint) -> str:
    return urlsplit(endpoint.url).hostname or ""


async def _addresses(host: str) -> list[tuple[int, str]]:
    """Its addresses with their families, as the machine's own resolver finds them. Raises OSError."""
    with trio.move_on_after(RESOLVE_S):
        found = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)
        return [(int(family), str(address[0])) for family, _, _, _, address in found]
    raise TimeoutError(f"no answer from the name server within {RESOLVE_S:.0f} s")


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


async def proxy(patient: Patient) -> Look:
    """Does the HTTP proxy of the settings let us through?"""
    endpoint = patient.endpoint
    assert endpoint is not None
    if not endpoint.proxy:
        return passed("none in the settings")
    parts = urlsplit(endpoint.url)
    try:
        with trio.fail_after(endpoint.open_timeout_s):
            stream = await tcp.connect(_host(endpoint), parts.port or DEFAULT_PORTS[parts.scheme], endpoint.proxy)
    except trio.TooSlowError:
        return failed(f"no answer within {endpoint.open_timeout_s:g} s", "correct endpoints.proxy in the settings")
    except DialError as error:
        return failed(str(error), _remedy(error.failure) or "correct endpoints.proxy in the settings")
    await trio.aclose_forcefully(stream)
    return passed("it connects to the endpoint's host")


async def encryption(patient: Patient) -> Look:
    """TCP and TLS to the endpoint, its certificate checked."""
    endpoint = patient.endpoint
    assert endpoint is not None
    parts, host = urlsplit(endpoint.url), _host(endpoint)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        with trio.fail_after(endpoint.open_timeout_s):
            stream = await tcp.connect(host, port, endpoint.proxy)
            if parts.scheme != "wss":
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
    if failure is None:
        return passed(f"{endpoint.model or 'of the address'}")
    return failed(failure.message, _remedy(failure))


async def round_trip(patient: Patient) -> Look:
    """How long a message takes to the endpoint and back."""
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
    rest = patient.settings.endpoints[1:]
    if not rest:
        return skipped("there is only one endpoint")
    troubles: list[str] = []
    for endpoint in rest:
        try:
            failure = await open_session(endpoint, find_key(patient, endpoint), [])
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
            notes["session"], notes["pings-ms"] = "a session opens", pings
            notes["failure"] = await open_session(endpoint, find_key(patient, endpoint), pings)
    failure: Failure | None = notes["failure"]
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


async def _measure(socket: WebSocketConnection, pings_ms: list[float], then: Callable[[], None]) -> None:
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
