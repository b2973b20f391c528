"""The API key: where it may lie, how it is read, and how to keep it out of every text.

A key is read from a systemd credential, a file that only its owner reads, or an environment variable.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from kioskd.config.files import MissingFileError, UnreadableFileError, read_small_file
from kioskd.config.schema import Endpoint, EndpointKind, KeySource, MintKind

MAX_KEY_BYTES = 16 * 1024  # a JWT of a token broker takes up to some 8 KiB

KEY_PLACES = (
    "the key does not belong into this file; put it in a systemd credential (key.credential), a file of mode 0600 "
    "(key.file) or an environment variable (key.environment)"
)

# The prefixes of OpenAI (sk-, ek_), HolySheep (hsa-) and their look-alikes, with at least twelve characters behind:
# "sk-..." in a comment is no key. The text before is kept out of words such as "task-oriented-conversations".
_KEY_LIKE = re.compile(r"(?<![A-Za-z0-9])(?:sk|hsa)-[A-Za-z0-9_-]{12,}|(?<![A-Za-z0-9])ek_[A-Za-z0-9_-]{8,}")

# Names of query parameters and headers that carry a secret.
_KEY_NAME = r"(?:[\w.~%-]*[_-])?(?:api-?)?(?:key|apikey|token|secret|password|signature)|code|auth|sig"
_KEY_PARAMETER = re.compile(_KEY_NAME, re.IGNORECASE | re.ASCII)
_KEY_IN_QUERY = re.compile(rf"([?&](?:{_KEY_NAME})=)[^&#\s\"<>]+", re.IGNORECASE | re.ASCII)
# The only parameters whose values are shown: any other can be a key by its owner's choice.
SHOWN_PARAMETERS = frozenset({"model", "deployment", "api-version", "stream"})


_owners: frozenset[int] | None = None  # None: root's, and those of the user who reads


class KeyUnavailable(ValueError):  # noqa: N818  (the name says it better than an ending)
    """There is no usable key; the text says in one line what, where, and what to do. It never holds the key."""


def looks_like_key(text: str) -> bool:
    """Whether a piece of text holds what is most likely an API key."""
    return _KEY_LIKE.search(text) is not None


def is_key_parameter(name: str) -> bool:
    """Whether a query parameter or a header of this name carries a secret."""
    return _KEY_PARAMETER.fullmatch(name) is not None


def mask_keys(text: str) -> str:
    """The text with all that looks like an API key, or follows a name such as ?api_key=, replaced by stars."""
    return _KEY_IN_QUERY.sub(r"\1***", _KEY_LIKE.sub("***", text))


def printable_url(url: str) -> str:
    """A URL for logs and status: without login and fragment, with the harmless values of its query only."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no URL)"
    query = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        shown = value if name.lower() in SHOWN_PARAMETERS else "***"
        query.append(f"{name}={shown}" if value else "***")  # a name alone could be the key itself
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + (f"?{'&'.join(query)}" if query else "")
    return mask_keys("".join(character if character.isprintable() else " " for character in text))


def take_keys_of(uid: int | None) -> None:
    """From now on only a file of this user's is a key, for this process (None: no file is).

    For root, who is asked by somebody else: the kiosk's user can't read root's files, and root must not read them for
    whoever names them in the settings.
    """
    global _owners
    _owners = frozenset() if uid is None else frozenset({uid})


def endpoint_key(endpoint: Endpoint, environ: Mapping[str, str]) -> str:
    """The key of an endpoint, by `read_key`; empty on this machine, and where a broker is asked that wants none."""
    if endpoint.kind is EndpointKind.LOCAL:
        return ""
    by_broker = endpoint.mint is not None and endpoint.mint.kind is MintKind.BROKER
    if by_broker and endpoint.key == KeySource():
        return ""
    return read_key(endpoint.key, environ)


def read_key(source: KeySource, environ: Mapping[str, str]) -> str:
    """The API key from the first place of `source` that exists: credential, file, environment variable.

    `environ` also names the directory of the credentials (`CREDENTIALS_DIRECTORY`, systemd.exec(5)).
    Raises KeyUnavailable where there is none, or where the first that exists can't be used.
    """
    missing: list[str] = []
    for place, key, why_not in _readings(source, environ):
        if key is not None:
            return checked_key(key, place)
        if why_not:
            missing.append(f"{place} {why_not}")
    if not missing:
        raise KeyUnavailable("no key is named: give the endpoint a key.credential, key.file or key.environment")
    raise KeyUnavailable(f"no key found: {'; '.join(missing)}")


_Reading = tuple[str, bytes | None, str]  # the place, what lies there, else why nothing does ("": not named)


def _readings(source: KeySource, environ: Mapping[str, str]) -> Iterator[_Reading]:
    """One after the other, so that what lies behind the first that exists is never looked at."""
    yield _from_credential(source.credential, environ)
    yield _from_file(source.file)
    yield _from_environ(source.environment, environ)


def _from_credential(name: str | None, environ: Mapping[str, str]) -> _Reading:
    if name is None:
        return ("", None, "")
    place = f"credential {name}"
    if "/" in name or name in ("", ".", ".."):
        raise KeyUnavailable(f"{place}: a credential has a plain name without a slash; correct key.credential")
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return (place, None, "is not there (kioskd was not started with credentials; see LoadCredential= in the unit)")
    path = Path(directory) / name
    try:
        # The mode is not judged: systemd grants access by ACL, whose mask shows as the group's bits.
        return (f"{place} ({path})", read_small_file(path, MAX_KEY_BYTES).content, "")
    except MissingFileError:
        return (place, None, f"is not in {directory} (add LoadCredential={name}:/path/of/the/key to the unit)")
    except UnreadableFileError as error:
        raise KeyUnavailable(f"{place}: {path} {error}") from None


def _from_file(name: str | None) -> _Reading:
    if name is None:
        return ("", None, "")
    place = f"file {name}"
    try:
        found = read_small_file(Path(name), MAX_KEY_BYTES)
    except MissingFileError:
        return (place, None, "does not exist (write the key there, then: chmod 600)")
    except UnreadableFileError as error:
        raise KeyUnavailable(f"{place} {error}") from None
    if _owners is not None and found.owner not in _owners:
        raise KeyUnavailable(f"{place} isn't the kiosk's; run: sudo chown kioskd {name}")
    if _owners is None and found.owner not in (0, os.geteuid()):
        raise KeyUnavailable(
            f"{place} belongs to user id {found.owner}, who could change it; run: chown {os.geteuid()} {name}"
        )
    if found.mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyUnavailable(f"{place} is open to others (mode {found.mode:04o}); run: chmod 600 {name}")
    return (place, found.content, "")


def _from_environ(name: str | None, environ: Mapping[str, str]) -> _Reading:
    if name is None:
        return ("", None, "")
    place = f"environment variable {name}"
    text = environ.get(name)
    if text is None:
        return (place, None, "is not set")
    return (place, text.encode("utf-8", "surrogateescape"), "")


def checked_key(raw: bytes, place: str) -> str:
    """The key without surrounding white space; a key is printable ASCII in one piece (RFC 9110, field values).

    Raises KeyUnavailable, which names the place, for what is none.
    """
    stripped = raw.strip()
    if not stripped:
        raise KeyUnavailable(f"{place} is empty; write the key there")
    if len(stripped.split()) > 1:
        raise KeyUnavailable(f"{place} holds several words or lines; it must hold the key and nothing else")
    if not all(0x21 <= byte <= 0x7E for byte in stripped):
        raise KeyUnavailable(f"{place} holds characters that no key has (not plain ASCII); copy the key again")
    return stripped.decode("ascii")
