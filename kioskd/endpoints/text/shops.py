"""Whose key is it? A key of another shop is the commonest 401. PURE."""

from __future__ import annotations

from attrs import evolve

from kioskd.endpoints.policy import KEY_CODES, Failure

# What the shops' keys begin with, the longer first; and what of a host's name is the shop's own.
_SHOPS = (("hsa-", "HolySheep", "holysheep"), ("sk-ant-", "Anthropic", "anthropic"), ("gsk_", "Groq", "groq"))
_ANYBODYS = "sk-"  # OpenAI's, DeepSeek's and half of the relays'


def with_hint(failure: Failure, host: str, key: str) -> Failure:
    """The failure; where it refuses a key that is most likely another shop's, its message says so."""
    if failure.status != 401 and failure.code not in KEY_CODES:
        return failure
    hint = _hint(host.lower(), key, failure.message)
    return evolve(failure, message=f"{failure.message.rstrip('.')}; {hint}") if hint else failure


def _hint(host: str, key: str, said: str) -> str:
    for prefix, shop, name in _SHOPS:
        ours = name in host or (prefix == "hsa-" and "hsa-" in said)
        if key.startswith(prefix) and not ours:
            return f"a key that begins with {prefix} is {shop}'s"
        if ours and not key.startswith(prefix):
            begins = f", and this one with {_ANYBODYS}" if key.startswith(_ANYBODYS) else ""
            return f"{shop}'s keys begin with {prefix}{begins}: it is another shop's"
    return ""
