"""The API key: where it is looked for, what is refused, and that no message ever shows it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.config.schema import Endpoint, KeySource, Mint, MintKind
from kioskd.config.secrets import (
    KeyUnavailable,
    endpoint_key,
    looks_like_key,
    mask_keys,
    printable_url,
    read_key,
)

KEY = "sk-proj-0123456789abcdefghij"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


def key_file(path: Path, content: str | bytes = KEY, mode: int = 0o600) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return str(path)


def test_the_first_place_that_exists_counts(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    key_file(credentials / "api-key", "from-credential", 0o440)  # as systemd's ACLs look
    file = key_file(tmp_path / "key", "from-file")
    source = KeySource(credential="api-key", file=file, environment="KEY")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials), "KEY": "from-environment"}

    assert read_key(source, environ) == "from-credential"
    assert read_key(source, {"KEY": "from-environment"}) == "from-file"
    Path(file).unlink()
    assert read_key(source, {"KEY": "from-environment"}) == "from-environment"


def test_what_lies_behind_the_first_place_is_not_looked_at(tmp_path: Path) -> None:
    key_file(tmp_path / "api-key", KEY)
    source = KeySource(credential="api-key", file=key_file(tmp_path / "open", KEY, 0o644))
    assert read_key(source, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == KEY


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_taken_without_its_white_space(tmp_path: Path, mode: int) -> None:
    assert read_key(KeySource(file=key_file(tmp_path / "key", f"\n {KEY} \r\n", mode)), {}) == KEY


def complaint(source: KeySource, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(KeyUnavailable) as caught:
        read_key(source, environ or {})
    text = str(caught.value)
    assert KEY not in text
    assert "\n" not in text
    assert isinstance(caught.value, ValueError)
    return text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o644])
def test_a_file_that_others_may_touch_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    file = key_file(tmp_path / "key", mode=mode)
    assert f"chmod 600 {file}" in complaint(KeySource(file=file))


@needs_root
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    file = key_file(tmp_path / "key")
    os.chown(file, 12345, 12345)
    assert "12345" in complaint(KeySource(file=file))


@needs_root
def test_a_file_that_may_not_be_read_is_said_to_be_so(tmp_path: Path) -> None:
    file = key_file(tmp_path / "key")
    os.seteuid(65534)
    try:
        text = complaint(KeySource(file=file))
    finally:
        os.seteuid(0)
    assert "may not be read" in text
    assert file in text


def test_a_fifo_or_a_directory_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "not a regular file" in complaint(KeySource(file=str(tmp_path / "fifo")))
    assert "not a regular file" in complaint(KeySource(file=str(tmp_path)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"two words", "several"),
        (KEY.encode() + b"\n" + KEY.encode(), "several"),
        (KEY.encode() + b"\x00", "characters"),
        ((KEY + "é").encode(), "characters"),
        (b"\xff\xfe" + KEY.encode(), "characters"),
        (b"k" * 20_000, "larger"),
    ],
)
def test_what_can_be_no_key_is_refused_wherever_it_lies(tmp_path: Path, content: bytes, says: str) -> None:
    key_file(tmp_path / "key", content)
    assert says in complaint(KeySource(file=str(tmp_path / "key")))
    assert says in complaint(KeySource(credential="key"), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    if says != "larger":
        assert says in complaint(KeySource(environment="KEY"), {"KEY": os.fsdecode(content)})


def test_every_place_that_was_tried_is_named_with_a_remedy(tmp_path: Path) -> None:
    text = complaint(KeySource(credential="api-key", file=str(tmp_path / "key"), environment="OPENAI_API_KEY"))
    assert "LoadCredential=" in text
    assert str(tmp_path / "key") in text
    assert "OPENAI_API_KEY is not set" in text
    assert "LoadCredential=api-key:" in complaint(
        KeySource(credential="api-key"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    )
    assert "key.credential, key.file or key.environment" in complaint(KeySource())


@pytest.mark.parametrize("name", ["../shadow", "a/b", "..", ".", ""])
def test_a_credential_never_leads_out_of_its_directory(tmp_path: Path, name: str) -> None:
    key_file(tmp_path / "shadow")
    (tmp_path / "credentials").mkdir()
    complaint(KeySource(credential=name), {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})


@given(
    prefix=st.sampled_from(["sk-", "sk-proj-", "hsa-", "ek_"]),
    body=st.text("abcXYZ0189_-", min_size=12, max_size=60),
    before=st.sampled_from(["", " ", "=", "'", "/"]),
)
def test_keys_are_found_and_masked_within_any_text(prefix: str, body: str, before: str) -> None:
    text = f"{before}{prefix}{body}, and more"
    assert looks_like_key(text)
    assert body not in mask_keys(text)
    assert mask_keys(text).endswith(", and more")


@pytest.mark.parametrize(
    "text", ["sk-...", "task-oriented-conversation", "gpt-4o-mini-transcribe", "risk-free-kiosks-here"]
)
def test_ordinary_words_are_no_keys(text: str) -> None:
    assert not looks_like_key(text)
    assert mask_keys(text) == text


# A key in an address.

NAMES = ["api_key", "key", "token", "access_token", "Api-Key", "apikey", "client_secret", "X-Amz-Signature", "sig"]
KEYS = st.text("abcXYZ0189._~+/=-", min_size=6, max_size=60)


@given(key=KEYS, name=st.sampled_from(NAMES), before=st.sampled_from(["?", "?model=m&", "?a=b&"]))
def test_a_key_in_an_address_is_masked_within_any_text(key: str, name: str, before: str) -> None:
    for written in (key, quote(key, safe="")):
        text = f'GET "wss://h/v1/stream{before}{name}={written}&x=y": not found'
        masked = mask_keys(text)
        assert written not in masked
        assert masked.startswith(f'GET "wss://h/v1/stream{before}{name}=***&x=y"')


@given(key=KEYS.map(lambda key: f"@{key}"), name=st.text(min_size=1, max_size=8), login=st.booleans())
def test_a_printable_url_shows_no_value_that_could_be_a_key(key: str, name: str, login: bool) -> None:
    query = urlencode({f"x{name}": key, "model": "m"})
    url = f"wss://{'u:' + quote(key, safe='') + '@' if login else ''}h.example:8443/v1/realtime?{query}#{key}"
    shown = printable_url(url)
    assert key not in shown and quote(key, safe="") not in shown
    assert shown.startswith("wss://h.example:8443/v1/realtime?")
    assert shown.endswith("&model=m")
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://api.openai.com/v1/realtime?model=gpt-realtime", "wss://api.openai.com/v1/realtime?model=gpt-realtime"),
        ("wss://r/o?api-version=1&deployment=d", "wss://r/o?api-version=1&deployment=d"),
        ("wss://r/o?hunter2hunter2", "wss://r/o?***"),
        ("wss://[::1", "(no URL)"),
        (f"wss://r/{KEY}/x?model={KEY}", "wss://r/***/x?model=***"),
    ],
)
def test_what_is_harmless_in_an_address_is_shown(url: str, shown: str) -> None:
    assert printable_url(url) == shown


def test_long_texts_are_masked_in_no_time() -> None:
    for text in ("?" + "a_" * 200_000, "?a" * 200_000, "&" * 400_000, "?" + "%-" * 200_000 + "key"):
        assert mask_keys(text) == text


def test_a_broker_that_wants_no_key_needs_none() -> None:
    broker = Endpoint("a", "wss://h", "m", mint=Mint(MintKind.BROKER, "https://b"))
    assert endpoint_key(broker, {}) == ""
    named = Endpoint("a", "wss://h", "m", key=KeySource(environment="KEY"), mint=Mint(MintKind.BROKER, "https://b"))
    assert endpoint_key(named, {"KEY": "k"}) == "k"
    for unnamed in (Endpoint("a", "wss://h", "m"), Endpoint("a", "wss://h", "m", mint=Mint())):
        with pytest.raises(KeyUnavailable):
            endpoint_key(unnamed, {})
    with pytest.raises(KeyUnavailable):
        endpoint_key(named, {})
