"""What a failure of the link means: one table, each row with its reason. PURE."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import Enum

from attrs import frozen

from kioskd.value import Value

FIRST_RETRY_S = 0.25  # a hiccup of the network is over before a visitor notices
_SOON = 2  # doublings: 1 s, and no more for the next few attempts ...
_SOON_ATTEMPTS = 4  # ... so that whatever was away for some seconds is noticed within a second of its return
LONGEST_RETRY_S = 30.0  # nobody waits for a kiosk longer than that once the network is back
WANTED_RETRY_S = 2.0  # while a visitor waits for the answer
RATE_LIMIT_S = 5.0  # relays that say "too many" without a time mean a few seconds
KEY_PROBE_S = 10.0  # an owner who has just written the key stands before the kiosk
OWNER_PROBE_S = 600.0  # often enough to come back by itself once the owner paid, seldom enough to offend nobody
LONGEST_TOLD_WAIT_S = 3600.0  # a server that tells a day has lost its clock


class Kind(Enum):
    """Where it failed."""

    DNS = "name not found"
    CONNECT = "no connection"
    TLS = "TLS failed"
    PROXY = "proxy refused"
    UPGRADE = "upgrade refused"
    SILENCE = "no answer in time"
    LOST = "connection lost"
    ERROR = "the endpoint reports an error"
    KEY = "no usable key"
    SETTINGS = "settings rejected"


@frozen(eq=False, repr=False)
class Failure(Value):
    """What was seen of it. `message` is one line without secrets; `code` is an error's code or type."""

    kind: Kind
    message: str
    status: int | None = None
    close_code: int | None = None
    code: str | None = None
    retry_after_s: float | None = None


@frozen(eq=False, repr=False)
class _Later(Value):
    after_s: float


class Retry(_Later):
    """Try again after `after_s`."""

    __slots__ = ()


class Wait(_Later):
    """The other side told how long to stay away, or meant it."""

    __slots__ = ()


class NextEndpoint(_Later):
    """This endpoint is in trouble and the network isn't: another one can answer at once. Else again after `after_s`."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class Renew(Value):
    """The session is over by its own limit: begin a new one at once."""


@frozen(eq=False, repr=False)
class OwnerMustAct(Value):
    """No retry mends it; `remedy` is what the owner can do. Probed every `probe_s` all the same."""

    remedy: str
    probe_s: float = OWNER_PROBE_S


Verdict = Retry | Wait | NextEndpoint | Renew | OwnerMustAct

KEY_REMEDY = "put a valid key of this endpoint's seller into its place (key: in the settings names it)"
CREDIT_REMEDY = "top up the account, or raise its limit"
MODEL_REMEDY = "correct the endpoint's model in the settings"
URL_REMEDY = "correct the endpoint's url in the settings"
DIALECT_REMEDY = "set the endpoint's dialect to ga"
ACCOUNT_REMEDY = "ask the seller why the account is closed"
ACCESS_REMEDY = "check that this key may use the model, and that no firewall answers instead (many block WebSockets)"
SETTINGS_REMEDY = "check the endpoint's url, model and dialect in the settings"
REJECTED_REMEDY = "correct what the message names in the endpoint's settings"
PROXY_LOGIN_REMEDY = "name a proxy that wants no login, or let it exempt this machine"
PROXY_REMEDY = "let the proxy connect to this host, or correct the endpoint's proxy in the settings"

CREDIT_CODES = ("insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached")
KEY_CODES = ("invalid_api_key", "incorrect_api_key", "authentication_error")
MODEL_CODES = ("missing_model", "invalid_model", "model_not_found")
LIMIT_CODES = ("429", "rate_limit_exceeded", "rate_limit_error", "slow_down")
TROUBLE_CODES = ("server_error", "internal_error", "internal_server_error", "api_error", "overloaded_error")
CLOSED_CODE, BETA_CODE, EXPIRED_CODE = "account_deactivated", "beta_api_shape_disabled", "session_expired"
# In the order of the rows: a relay's "429" beside "insufficient_quota" is no mere limit.
_KNOWN_CODES = (
    *CREDIT_CODES,
    *KEY_CODES,
    CLOSED_CODE,
    *MODEL_CODES,
    BETA_CODE,
    EXPIRED_CODE,
    *LIMIT_CODES,
    *TROUBLE_CODES,
)


@frozen(eq=False, repr=False)
class Row:
    """One line of the table: whom it is for, what follows, and why."""

    fits: Callable[[Failure], bool]
    verdict: Callable[[Failure], Verdict]
    reason: str


def _code(*codes: str) -> Callable[[Failure], bool]:
    return lambda failure: failure.code in codes


def _status(*statuses: int) -> Callable[[Failure], bool]:
    return lambda failure: failure.status in statuses


def _kind(*kinds: Kind) -> Callable[[Failure], bool]:
    return lambda failure: failure.kind in kinds


def _closed(*codes: int) -> Callable[[Failure], bool]:
    return lambda failure: failure.close_code in codes


def _proxy(*statuses: int) -> Callable[[Failure], bool]:
    return lambda failure: failure.kind is Kind.PROXY and (not statuses or failure.status in statuses)


def _owner(remedy: str, probe_s: float = OWNER_PROBE_S) -> Callable[[Failure], Verdict]:
    return lambda _: OwnerMustAct(remedy, probe_s)


def _is_rate_limit(failure: Failure) -> bool:
    return failure.status == 429 or failure.code in LIMIT_CODES


def _says_when(failure: Failure) -> bool:
    return told_wait_s(failure) is not None


def _wait(failure: Failure) -> Verdict:
    told = told_wait_s(failure)
    return Wait(RATE_LIMIT_S if told is None else told)


def _retry(_: Failure) -> Verdict:
    return Retry(0.0)  # the back-off goes on top


def _elsewhere(_: Failure) -> Verdict:
    return NextEndpoint(0.0)


# The first row that fits decides. Codes come before statuses, which come before close codes and kinds: they say more.
ROWS: tuple[Row, ...] = (
    Row(_proxy(407), _owner(PROXY_LOGIN_REMEDY), "the proxy is the owner's, and so is its login"),
    Row(_proxy(400, 403, 405, 501), _owner(PROXY_REMEDY), "the proxy's rules don't change by themselves"),
    Row(_proxy(), _retry, "its other statuses (502, 503, 504) are the network's troubles, told by the proxy"),
    Row(_code(*CREDIT_CODES), _owner(CREDIT_REMEDY), "sold out: often a 429 too, but no wait mends it"),
    Row(_code(*KEY_CODES), _owner(KEY_REMEDY), "often told by an error after a successful upgrade"),
    Row(_code(CLOSED_CODE), _owner(ACCOUNT_REMEDY), "only the seller knows why"),
    Row(_code(*MODEL_CODES), _owner(MODEL_REMEDY), "the same model is unknown again next time"),
    Row(_code(BETA_CODE), _owner(DIALECT_REMEDY), "the provider has switched its beta off for good"),
    Row(_code(EXPIRED_CODE), lambda _: Renew(), "the 60 minutes are over: nothing is wrong"),
    Row(_is_rate_limit, _wait, "too many: coming back at once makes it worse"),
    Row(_kind(Kind.KEY), _owner(KEY_REMEDY, KEY_PROBE_S), "our own file or credential: a look at it costs nothing"),
    Row(_status(401), _owner(KEY_REMEDY), "the key is not known there; often it is another shop's"),
    Row(_status(402), _owner(CREDIT_REMEDY), "payment required"),
    Row(_status(403), _owner(ACCESS_REMEDY), "a key without access, or a firewall's own answer"),
    Row(_status(404, 405, 410, 426), _owner(URL_REMEDY), "there is no such door, or it is not a WebSocket's"),
    Row(_status(301, 302, 303, 307, 308), _owner(URL_REMEDY), "following a redirection would hand the key to another"),
    Row(
        _status(400, 406, 413, 415, 422),
        _owner(SETTINGS_REMEDY),
        "the request is made of the settings: they are what is wrong",
    ),
    Row(_closed(3000), _owner(KEY_REMEDY), "some relays close for a bad key without an error before"),
    Row(_closed(4000), _owner(MODEL_REMEDY), "missing_model, invalid_model, said by the close code alone"),
    Row(_kind(Kind.SETTINGS), _owner(REJECTED_REMEDY), "the same settings are rejected again"),
    Row(_says_when, _wait, "a 503 with Retry-After means it"),
    Row(_status(500, 502, 503, 504, 529), _elsewhere, "it is there, and overloaded or broken: others may not be"),
    Row(_code(*TROUBLE_CODES), _elsewhere, "the same, told after the upgrade"),
    Row(_closed(1011, 1012, 1013), _elsewhere, "the same, told by the close code (RFC 6455, 7.4; IANA: 1012, 1013)"),
    Row(lambda _: True, _retry, "networks, relays, clocks and captive portals mend by themselves"),
)


def most_telling(names: Iterable[str]) -> str | None:
    """Of an error's `code` and `type` the one that the table knows (its earliest, if both), else the first."""
    found = list(names)
    return next((code for code in _KNOWN_CODES if code in found), found[0] if found else None)


_TOLD_WAIT = (  # a text: compiled where a failure has words
    r"(?:retry|try again) (?:after|in) (?:(?P<h>\d{1,6})\s?h[a-z]*,?\s?)?(?:(?P<m>\d{1,6})\s?m(?!s)[a-z]*,?\s?)?"
    r"(?:(?P<s>\d{1,9}(?:\.\d{1,9})?)\s?(?P<unit>ms|s))?"
)


def told_wait_s(failure: Failure) -> float | None:
    """The wait that the other side asked for: a header's, or the text's ("Retry after 60 seconds", "in 6m0s")."""
    told = failure.retry_after_s
    if told is None:
        match = re.search(_TOLD_WAIT, failure.message, re.IGNORECASE | re.ASCII)
        if match is None or not any(match.groups()):
            return None
        seconds = float(match["s"] or 0) / (1000 if (match["unit"] or "").lower() == "ms" else 1)
        told = int(match["h"] or 0) * 3600 + int(match["m"] or 0) * 60 + seconds
    return min(max(told, 0.0), LONGEST_TOLD_WAIT_S)


def backoff_s(attempts: int, jitter: float, wanted: bool = False) -> float:
    """The wait before the next attempt, after `attempts` in vain (0: the first). `jitter`: 0.0 to 1.0, drawn at random.

    Between half of the nominal wait and all of it, so that a hundred kiosks don't come back in the same second.
    `wanted`: somebody waits for it.
    """
    doublings = min(max(attempts, 0), max(_SOON, attempts - _SOON_ATTEMPTS), 16)
    nominal = min(FIRST_RETRY_S * 2.0**doublings, WANTED_RETRY_S if wanted else LONGEST_RETRY_S)
    return nominal * (0.5 + 0.5 * jitter)


def judge(failure: Failure, attempts: int, jitter: float, wanted: bool = False) -> Verdict:
    """What to do about `failure`, after `attempts` failures since the last *useful* event (a mere connect is none).

    `wanted`: a visitor waits for an answer, or is speaking.
    """
    found, own_s = row_of(failure).verdict(failure), backoff_s(attempts, jitter, wanted)
    match found:
        case Wait(told_s):  # a told wait is a floor
            return Wait(told_s + own_s)
        case Retry():
            return Retry(own_s)
        case NextEndpoint():
            return NextEndpoint(own_s)
    return found


def row_of(failure: Failure) -> Row:
    """The line of the table that decides about `failure`; the last one fits everything."""
    return next(row for row in ROWS if row.fits(failure))
