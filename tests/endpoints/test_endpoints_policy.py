"""The policy of a failing link: what each failure means, and that every wait has its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.endpoints import policy
from kioskd.endpoints.policy import Failure, Kind, NextEndpoint, OwnerMustAct, Renew, Retry, Wait, judge

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
        case Retry(after_s) | NextEndpoint(after_s):
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


def test_a_short_outage_ends_within_a_second_of_the_links_return() -> None:
    """Whatever jitter draws: nobody waits longer for an attempt while the link has been away for a few seconds."""
    waits = [policy.backoff_s(attempts, 1.0) for attempts in range(20)]
    assert max(waits[:7]) == 1.0 and sum(waits[:7]) >= 5
    assert waits[7:9] == [2.0, 4.0] and waits[-1] == policy.LONGEST_RETRY_S


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


# One failure for every row of the table, in its order: a row that another one hides can't decide anything.
EXAMPLES = [
    Failure(Kind.PROXY, "login", status=407),
    Failure(Kind.PROXY, "no", status=403),
    Failure(Kind.PROXY, "gateway", status=502),
    Failure(Kind.UPGRADE, "sold out", status=429, code="insufficient_quota"),
    Failure(Kind.ERROR, "bad key", close_code=3000, code="invalid_api_key"),
    Failure(Kind.UPGRADE, "closed", status=403, code="account_deactivated"),
    Failure(Kind.ERROR, "what?", close_code=4000, code="invalid_model"),
    Failure(Kind.ERROR, "gone", close_code=4000, code="beta_api_shape_disabled"),
    Failure(Kind.ERROR, "60 minutes", close_code=1001, code="session_expired"),
    Failure(Kind.UPGRADE, "too many", status=429),
    Failure(Kind.KEY, "no file"),
    Failure(Kind.UPGRADE, "who?", status=401),
    Failure(Kind.UPGRADE, "pay", status=402),
    Failure(Kind.UPGRADE, "not you", status=403),
    Failure(Kind.UPGRADE, "not here", status=404),
    Failure(Kind.UPGRADE, "there", status=302),
    Failure(Kind.UPGRADE, "how?", status=400),
    Failure(Kind.LOST, "closed", close_code=3000),
    Failure(Kind.LOST, "closed", close_code=4000),
    Failure(Kind.SETTINGS, "voice unknown"),
    Failure(Kind.UPGRADE, "maintenance", status=503, retry_after_s=9),
    Failure(Kind.UPGRADE, "oops", status=500),
    Failure(Kind.ERROR, "oops", code="server_error"),
    Failure(Kind.LOST, "oops", close_code=1011),
    Failure(Kind.LOST, "gone"),
]


@pytest.mark.parametrize(("row", "example"), list(zip(policy.ROWS, EXAMPLES, strict=True)))
def test_every_row_decides_about_its_example_and_has_a_reason(row: policy.Row, example: Failure) -> None:
    assert policy.row_of(example) is row
    assert row.reason


ALL_CODES = [*policy.CREDIT_CODES, *policy.KEY_CODES, *policy.MODEL_CODES, policy.CLOSED_CODE, policy.BETA_CODE]


@pytest.mark.parametrize("code", ALL_CODES)
@pytest.mark.parametrize("status", [None, 200, 400, 429, 500])
def test_a_code_that_only_the_owner_can_mend_counts_whatever_the_status(code: str, status: int | None) -> None:
    assert isinstance(judge(Failure(Kind.UPGRADE, "retry after 5 s", status=status, code=code), 0, 0), OwnerMustAct)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_a_server_in_trouble_is_tried_again_unless_there_is_another(status: int) -> None:
    assert isinstance(judge(Failure(Kind.UPGRADE, "oops", status=status), 0, 0.5), NextEndpoint)


@pytest.mark.parametrize("status", [400, 406, 413, 415, 422])
def test_a_request_that_is_refused_for_what_it_is_is_refused_again(status: int) -> None:
    assert isinstance(judge(Failure(Kind.ERROR, "unknown field", status=status), 0, 0.5), OwnerMustAct)


@pytest.mark.parametrize("status", [408, 520, 524])
def test_what_the_network_may_have_said_is_tried_again(status: int) -> None:
    assert isinstance(judge(Failure(Kind.UPGRADE, "oops", status=status), 0, 0.5), Retry)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_in_trouble_is_tried_again(status: int) -> None:
    assert isinstance(judge(Failure(Kind.PROXY, "oops", status=status), 0, 0.5), Retry)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Rate limit exceeded. Retry after 60 seconds", 60),
        ("Please try again in 1.5s.", 1.5),
        ("Please try again in 250ms.", 0.25),
        ("Please try again in 6m0s.", 360),
        ("try again in 0h2m3s", 123),
        ("Retry after 2 minutes", 120),
        ("RETRY AFTER 1 HOUR", 3600),
        ("retry after 9999999 s", policy.LONGEST_TOLD_WAIT_S),
        ("please retry after a while", None),
        ("try again in a few seconds", None),
        ("60 seconds", None),
    ],
)
def test_a_wait_is_read_from_the_text(text: str, seconds: float | None) -> None:
    assert policy.told_wait_s(Failure(Kind.ERROR, text)) == seconds


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], None),
        (["invalid_api_key", "invalid_request_error"], "invalid_api_key"),
        (["401", "invalid_api_key"], "invalid_api_key"),
        (["429", "insufficient_quota"], "insufficient_quota"),
        (["slow_down", "rate_limit_error"], "rate_limit_error"),
        (["what", "ever"], "what"),
    ],
)
def test_of_code_and_type_the_one_that_is_known_counts(names: list[str], told: str | None) -> None:
    assert policy.most_telling(names) == told


@pytest.mark.parametrize("kind", [Kind.DNS, Kind.CONNECT, Kind.TLS, Kind.PROXY, Kind.SILENCE, Kind.LOST])
def test_a_network_in_trouble_is_tried_again(kind: Kind) -> None:
    assert isinstance(judge(Failure(kind, "down"), 3, 0.5), Retry)


def test_expiry_is_no_failure() -> None:
    assert judge(Failure(Kind.ERROR, "60 minutes", code="session_expired", close_code=1001), 9, 0.5) == Renew()
