"""The policy of a failing link: what each failure means, and that every wait has its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.endpoints import policy
from kioskd.endpoints.policy import Failure, Kind, OwnerMustAct, Renew, Retry, Wait, judge

ANY_TEXT = st.none() | st.text(max_size=20)
FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(Kind),
    message=st.text(max_size=80),
    status=st.none() | st.integers(100, 599),
    close_code=st.none() | st.integers(1000, 4999),
    code=ANY_TEXT | st.sampled_from(["rate_limit_exceeded", "invalid_api_key", "session_expired", "429"]),
    retry_after_s=st.none() | st.floats(-1e9, 1e9),
)


@given(FAILURES, st.integers(0, 10**6), st.floats(0, 1))
def test_every_failure_has_a_bounded_verdict(failure: Failure, attempts: int, jitter: float) -> None:
    match judge(failure, attempts, jitter):
        case Retry(after_s):
            assert policy.FIRST_RETRY_S / 2 <= after_s <= policy.LONGEST_RETRY_S
        case Wait(after_s):
            assert 0 <= after_s <= policy.LONGEST_TOLD_WAIT_S + policy.LONGEST_RETRY_S
        case OwnerMustAct(remedy, probe_s):
            assert remedy and 0 < probe_s <= policy.OWNER_PROBE_S
        case Renew():
            assert failure.code == "session_expired"


@given(st.integers(0, 50), st.floats(0, 1))
def test_back_off_grows_to_its_ceiling(attempts: int, jitter: float) -> None:
    assert policy.backoff_s(attempts, jitter) <= policy.backoff_s(attempts + 1, jitter)
    assert policy.backoff_s(attempts, 0) >= policy.backoff_s(attempts, 1) / 2


@pytest.mark.parametrize(
    "failure",
    [
        Failure(Kind.ERROR, "bad key", code="invalid_api_key"),
        Failure(Kind.UPGRADE, "no", status=401),
        Failure(Kind.UPGRADE, "no", status=403),
        Failure(Kind.UPGRADE, "no", status=404),
        Failure(Kind.UPGRADE, "no", status=429, code="insufficient_quota"),
        Failure(Kind.LOST, "closed", close_code=3000),
        Failure(Kind.LOST, "closed", close_code=4000),
        Failure(Kind.ERROR, "old", code="beta_api_shape_disabled"),
        Failure(Kind.KEY, "no key file"),
    ],
)
def test_the_owner_must_act(failure: Failure) -> None:
    assert isinstance(judge(failure, 0, 0.5), OwnerMustAct)


@pytest.mark.parametrize(
    ("failure", "floor_s"),
    [
        (Failure(Kind.UPGRADE, "slow down", status=429, retry_after_s=7), 7),
        (Failure(Kind.UPGRADE, "slow down", status=429), policy.RATE_LIMIT_S),
        (Failure(Kind.ERROR, "Rate limit exceeded. Retry after 60 seconds", code="429"), 60),
        (Failure(Kind.UPGRADE, "maintenance", status=503, retry_after_s=120), 120),
    ],
)
def test_a_told_wait_is_a_floor(failure: Failure, floor_s: float) -> None:
    verdict = judge(failure, 0, 0.5)
    assert isinstance(verdict, Wait)
    assert floor_s <= verdict.after_s <= floor_s + policy.FIRST_RETRY_S


@pytest.mark.parametrize("kind", [Kind.DNS, Kind.CONNECT, Kind.TLS, Kind.PROXY, Kind.SILENCE, Kind.LOST])
def test_a_network_in_trouble_is_tried_again(kind: Kind) -> None:
    assert isinstance(judge(Failure(kind, "down"), 3, 0.5), Retry)


def test_expiry_is_no_failure() -> None:
    assert judge(Failure(Kind.ERROR, "60 minutes", code="session_expired", close_code=1001), 9, 0.5) == Renew()
