"""What a connection is opened with, from every way in; and that no text shows it."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import pytest
import trio
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from kioskd.config.schema import Auth, Dialect, Endpoint, Mint, MintKind
from kioskd.config.secrets import printable_url
from kioskd.endpoints import mint as minting
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.mint import Minted
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.way_in import Door, open_door

HERE = Endpoint("here", "wss://relay.example/v1/realtime", "m")
AZURE = evolve(HERE, url="wss://r.openai.azure.com/openai/v1/realtime")
KEY, SHORT = "long-lived-key-0001", "short-lived-key-0002"
URL = "wss://relay.example/v1/realtime?model=m"
BETA = (b"OpenAI-Beta", b"realtime=v1")


def bearer(key: str) -> tuple[bytes, bytes]:
    return (b"Authorization", f"Bearer {key}".encode())


async def door_of(endpoint: Endpoint, key: str = KEY, minted: Minted | None = None) -> Door:
    """The door, with a server that mints so; it is asked for a session if there is one, and never else."""
    asked: list[str] = []

    async def mint(_: Endpoint, plan: Mint, own: str) -> Minted:
        assert minted is not None and plan is endpoint.mint
        asked.append(own)
        return minted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minting, "mint", mint)
        door = await open_door(endpoint, key)
    assert asked == ([key] if minted else [])
    return door


@pytest.mark.parametrize(
    ("endpoint", "url", "headers"),
    [
        (HERE, URL, [bearer(KEY)]),
        (evolve(HERE, dialect=Dialect.BETA), URL, [bearer(KEY), BETA]),
        (evolve(HERE, auth=Auth.QUERY), f"{URL}&api_key={KEY}", []),
        (evolve(HERE, auth=Auth.QUERY, key_parameter="t", beta_header=True), f"{URL}&t={KEY}", [BETA]),
        (AZURE, f"{AZURE.url}?model=m", [(b"api-key", KEY.encode())]),
    ],
)
async def test_straight_in(endpoint: Endpoint, url: str, headers: list[tuple[bytes, bytes]]) -> None:
    door = await door_of(endpoint)
    assert (door.url, door.headers, door.secrets) == (url, headers, (KEY,))


CLIENT_SECRET, SESSION = Mint(), Mint(MintKind.SESSION)
BROKER = Mint(MintKind.BROKER, "https://broker.example/")
THERE = "wss://rt.relay.example/s?id=sess_0003"


@pytest.mark.parametrize(
    ("endpoint", "minted", "url", "headers"),
    [
        (evolve(HERE, mint=CLIENT_SECRET), Minted(SHORT, None), URL, [bearer(SHORT)]),
        (evolve(HERE, mint=SESSION, dialect=Dialect.BETA), Minted(SHORT, None), URL, [bearer(SHORT), BETA]),
        (evolve(HERE, mint=SESSION), Minted(SHORT, THERE), THERE, [bearer(SHORT)]),
        # The address alone: the endpoint's own wants the key as well, unless there is one in it.
        (evolve(HERE, mint=SESSION), Minted(None, THERE), THERE, [bearer(KEY)]),
        (evolve(HERE, mint=SESSION), Minted(None, f"{THERE}&token=x"), f"{THERE}&token=x", []),
        # A broker's never gets it, wherever it leads.
        (evolve(HERE, mint=BROKER), Minted(None, "wss://else.example/s"), "wss://else.example/s", []),
        (evolve(HERE, mint=BROKER), Minted(SHORT, None), URL, [bearer(SHORT)]),
        # A token is a bearer's, at Azure too; what a broker hands out is what `auth` says.
        (evolve(AZURE, mint=CLIENT_SECRET), Minted(SHORT, None), f"{AZURE.url}?model=m", [bearer(SHORT)]),
        (
            evolve(AZURE, mint=CLIENT_SECRET, auth=Auth.API_KEY_HEADER),
            Minted(SHORT, None),
            f"{AZURE.url}?model=m",
            [bearer(SHORT)],
        ),
        (
            evolve(AZURE, mint=BROKER, auth=Auth.API_KEY_HEADER),
            Minted(SHORT, None),
            f"{AZURE.url}?model=m",
            [(b"api-key", SHORT.encode())],
        ),
        (evolve(AZURE, mint=BROKER), Minted(SHORT, None), f"{AZURE.url}?model=m", [bearer(SHORT)]),
        (evolve(HERE, mint=CLIENT_SECRET, auth=Auth.QUERY), Minted(SHORT, None), f"{URL}&api_key={SHORT}", []),
        (evolve(HERE, mint=BROKER, auth=Auth.QUERY), Minted(SHORT, THERE), f"{THERE}&api_key={SHORT}", []),
    ],
)
async def test_with_a_minted_session(
    endpoint: Endpoint, minted: Minted, url: str, headers: list[tuple[bytes, bytes]]
) -> None:
    door = await door_of(endpoint, KEY, minted)
    assert (door.url, door.headers) == (url, headers)
    text = f"{KEY} {SHORT if minted.key else ''} {minted.url if minted.url else ''}"
    for secret in (KEY, SHORT, "sess_0003", "token=x"):
        assert secret not in door.hide(text) + repr(door)


async def test_a_broker_may_want_no_key() -> None:
    door = await door_of(evolve(HERE, mint=BROKER), "", Minted(SHORT, None))
    assert door.headers == [bearer(SHORT)]
    assert door.hide(f"a {SHORT} b") == "a *** b"


def test_a_secret_that_begins_another_one_leaves_nothing_of_it() -> None:
    assert Door("wss://h/", [], ("abcd", "abcd1234")).hide("abcd1234 abcd") == "*** ***"


@pytest.mark.parametrize("mint", [None, CLIENT_SECRET])
@pytest.mark.parametrize("auth", Auth)
@pytest.mark.parametrize("key", ["", "se cret", "secret\r\nX: y", "sécret"])
async def test_a_key_that_fits_no_header_is_told_without_being_shown(mint: Mint | None, auth: Auth, key: str) -> None:
    with pytest.raises(ValueError, match="key of endpoint here") as caught:
        await open_door(evolve(HERE, mint=mint, auth=auth), key)
    assert not key or key not in str(caught.value)


async def test_what_can_not_be_minted_is_told() -> None:
    endpoint = evolve(HERE, url="ws://192.0.2.1/", mint=CLIENT_SECRET)
    with pytest.raises(DialError) as caught:
        await open_door(endpoint, KEY)
    assert caught.value.failure.kind is Kind.SETTINGS


KEYS = st.text("abcdefghijXYZ0123456789._~+/=-", min_size=8, max_size=80).map("K".__add__)
ENDPOINTS = st.builds(
    Endpoint,
    name=st.just("here"),
    url=st.sampled_from(["wss://relay.example/v1/realtime", "wss://h:8443/x?a=b", "wss://r.openai.azure.com/o"]),
    model=st.just("m"),
    dialect=st.sampled_from(Dialect),
    auth=st.sampled_from(Auth),
    key_parameter=st.sampled_from(["api_key", "token", "t", "whatever"]),
    beta_header=st.sampled_from([None, True, False]),
)


@settings(deadline=None)
@given(endpoint=ENDPOINTS, key=KEYS)
def test_no_text_has_the_key(endpoint: Endpoint, key: str) -> None:
    door = trio.run(open_door, endpoint, key)
    in_url = key in [value for _, value in parse_qsl(urlsplit(door.url).query)]
    in_header = any(value.endswith(key.encode()) for _, value in door.headers)
    assert in_url != in_header  # it does go out, once
    failure = Failure(Kind.LOST, door.hide(f"{door.url} says {key!r}, {quote(key, safe='')} {quote_plus(key)}"))
    for text in (repr(door), str(door), f"{door}", repr(endpoint), printable_url(door.url), str(DialError(failure))):
        assert key not in text and quote(key, safe="") not in text


@settings(deadline=None)
@given(endpoint=ENDPOINTS, key=KEYS, short=KEYS, token=KEYS, named=st.booleans())
def test_no_text_has_what_was_minted(endpoint: Endpoint, key: str, short: str, token: str, named: bool) -> None:
    minted = Minted(short if named else None, f"wss://relay.example/s?x={quote(token, safe='')}")
    door = trio.run(door_of, evolve(endpoint, mint=SESSION), key, minted)
    said = door.hide(f"{door.url} {short if named else ''} {token} {key} {quote(token, safe='')}")
    for text in (repr(door), repr(minted), printable_url(door.url), said):
        for secret in {key, short, token}:
            assert secret not in text and quote(secret, safe="") not in text
