"""What a failure of the link means: one table, each row with its reason. PURE."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

from attrs import frozen

FIRST_RETRY_S = 0.25  # a hiccup of the network is over before a visitor notices
LONGEST_RETRY_S = 30.0  # nobody waits for a kiosk longer than that once the network is back
RATE_LIMIT_S = 5.0  # relays that say "too many" without a time mean a few seconds
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


@frozen
class Failure:
    """What was seen of it. `message` is one line without secrets; `code` is an error's code or type."""

    kind: Kind
    message: str
    status: int | None = None
    close_code: int | None = None
    code: str | None = None
    retry_after_s: float | None = None


@frozen
class Retry:
    """Try again after `after_s`."""

    after_s: float


@frozen
class Wait:
    """The other side told how long to stay away, or meant it."""

    after_s: float


@frozen
class Renew:
    """The session is over by its own limit: begin a new one at once."""


@frozen
class OwnerMustAct:
    """No retry mends it; `remedy` is what the owner can do. Probed every `probe_s` all the same."""

    remedy: str
    probe_s: float = OWNER_PROBE_S


Verdict = Retry | Wait | Renew | OwnerMustAct

KEY_REMEDY = "put a valid key of this endpoint's seller into its place (key: in the settings names it)"
CREDIT_REMEDY = "top up the account, or raise its limit"
MODEL_REMEDY = "correct the endpoint's model in the settings"
URL_REMEDY = "correct the endpoint's url in the settings"
DIALECT_REMEDY = "set the endpoint's dialect to ga"

Row = tuple[Callable[[Failure], bool], Callable[[Failure], Verdict] | OwnerMustAct]


def _code(*codes: str) -> Callable[[Failure], bool]:
    return lambda failure: failure.code in codes


def _status(*statuses: int) -> Callable[[Failure], bool]:
    return lambda failure: failure.status in statuses


def _kind(*kinds: Kind) -> Callable[[Failure], bool]:
    return lambda failure: failure.kind in kinds


def _closed(*codes: int) -> Callable[[Failure], bool]:
    return lambda failure: failure.close_code in codes


def _is_rate_limit(failure: Failure) -> bool:
    return failure.status == 429 or failure.code in ("429", "rate_limit_exceeded", "rate_limit_error", "slow_down")


def told_wait_s(failure: Failure) -> float | None:
    """The wait that the other side asked for: a header's, or the text's "Retry after 60 seconds"."""
    told = failure.retry_after_s
    if told is None and (
        match := re.search(r"(?:retry|try again) (?:after|in) (\d+(?:\.\d+)?) ?s", failure.message, re.I)
    ):
        told = float(match[1])
    return None if told is None else min(max(told, 0.0), LONGEST_TOLD_WAIT_S)


def _wait(failure: Failure) -> Verdict:
    told = told_wait_s(failure)
    return Wait(RATE_LIMIT_S if told is None else told)


# The first row that fits decides. Codes come before statuses, which come before close codes and kinds: they say more.
ROWS: tuple[Row, ...] = (
    # sold out: a 429 too, but no wait mends it
    (
        _code("insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached"),
        OwnerMustAct(CREDIT_REMEDY),
    ),
    (_code("invalid_api_key", "incorrect_api_key", "authentication_error"), OwnerMustAct(KEY_REMEDY)),
    (_code("account_deactivated"), OwnerMustAct("ask the seller why the account is closed")),
    (_code("missing_model", "invalid_model", "model_not_found"), OwnerMustAct(MODEL_REMEDY)),
    # the provider has switched its beta off for good
    (_code("beta_api_shape_disabled"), OwnerMustAct(DIALECT_REMEDY)),
    # the 60 minutes are over: nothing is wrong
    (_code("session_expired"), lambda _: Renew()),
    (_is_rate_limit, _wait),
    # our own key can't be read: its file may be replaced at any time, which costs nothing to look at
    (_kind(Kind.KEY), OwnerMustAct(KEY_REMEDY, probe_s=10.0)),
    (_status(401), OwnerMustAct(KEY_REMEDY)),
    (_status(402), OwnerMustAct(CREDIT_REMEDY)),
    (_status(403), OwnerMustAct("check that this key may use the model, and that no firewall blocks WebSockets")),
    (_status(404, 405, 426), OwnerMustAct(URL_REMEDY)),
    (_status(400), OwnerMustAct("check the endpoint's url, model and dialect in the settings")),
    # some relays close with the reason alone
    (_closed(3000), OwnerMustAct(KEY_REMEDY)),
    (_closed(4000), OwnerMustAct(MODEL_REMEDY)),
    # the settings we send are the owner's; the same ones are refused again
    (_kind(Kind.SETTINGS), OwnerMustAct("correct what the message names in the endpoint's settings")),
    # a 503 with Retry-After means it
    (lambda failure: told_wait_s(failure) is not None, _wait),
)


def backoff_s(attempts: int, jitter: float) -> float:
    """The wait before the next attempt, after `attempts` in vain (0: the first). `jitter`: 0.0 to 1.0, drawn at random.

    Between half of the nominal wait and all of it, so that a hundred kiosks don't come back in the same second.
    """
    nominal = min(FIRST_RETRY_S * 2.0 ** min(max(attempts, 0), 16), LONGEST_RETRY_S)
    return nominal * (0.5 + 0.5 * jitter)


def judge(failure: Failure, attempts: int, jitter: float) -> Verdict:
    """What to do about `failure`, after `attempts` failures since the last *useful* event (a mere connect is none)."""
    for fits, verdict in ROWS:
        if fits(failure):
            found = verdict if isinstance(verdict, OwnerMustAct) else verdict(failure)
            if isinstance(found, Wait):  # a told wait is a floor
                return Wait(found.after_s + backoff_s(attempts, jitter))
            return found
    return Retry(backoff_s(attempts, jitter))
