"""The dialogue knows no wire: none of the wire's words stand in its code."""

from __future__ import annotations

import io
import pathlib
import tokenize

import kioskd.dialogue

WIRE_WORDS = ("item", "truncat", "response", "session", "websocket", "delta", "commit", "base64", "json", "realtime")
ALLOWED = {"TRUNCATED", "truncated", "items"}  # an answer's ending, a dict's method: not the wire's words


def test_no_wire_word_in_the_dialogue() -> None:
    found = []
    for path in pathlib.Path(kioskd.dialogue.__file__).parent.glob("*.py"):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type in (tokenize.NAME, tokenize.STRING) and token.string.strip('"') not in ALLOWED:
                found += [
                    f"{path.name}:{token.start[0]}: {word} in {token.string!r}"
                    for word in WIRE_WORDS
                    if word in token.string.lower()
                ]
    assert found == []


def test_the_dialogue_is_pure() -> None:
    impure = ("trio", "time", "random", "os", "socket", "threading", "asyncio", "logging", "datetime")
    for path in pathlib.Path(kioskd.dialogue.__file__).parent.glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "from ")):
                assert line.split()[1].split(".")[0] not in impure, f"{path.name}: {line}"
