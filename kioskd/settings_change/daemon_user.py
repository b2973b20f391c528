"""What the daemon can make of settings: it is another user than root, and its unit hides some of the disk from it."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from kioskd.config.load import parse
from kioskd.config.places import SETTINGS, named_file
from kioskd.config.schema import Settings
from kioskd.config.yaml_text import decode
from kioskd.settings_change.texts import trouble_in

_COMMAND_S = 5.0
_HIDDEN = {
    "ProtectHome": (("yes", "tmpfs"), ("/home", "/root", "/run/user")),
    "PrivateTmp": (("yes", "disconnected"), ("/tmp", "/var/tmp")),
}
"""Properties of the unit; their values that hide something; what that is."""


def trouble_for_daemon(content: bytes, settings: Path, unit: str) -> str:
    """Why the daemon can't start under what root finds right, in a line; "" where it can, or that can't be known.

    `settings`: the file whose content it is; only the service's own is judged.
    """
    if os.geteuid() != 0 or settings != SETTINGS:
        return ""
    properties = _properties(unit)
    try:
        user = pwd.getpwnam(properties.get("User", ""))
    except KeyError:
        return ""
    if hidden := _hidden_file(parse(decode(content, ""), "", files=False), properties):
        return hidden
    try:
        with _as(user):
            return trouble_in(content, str(settings))
    except OSError:  # a container whose root may not become somebody else
        return ""


def _properties(unit: str) -> Mapping[str, str]:
    command = ["systemctl", "show", f"--property=User,{','.join(_HIDDEN)}", unit]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.partition("=") for line in said.splitlines())
    return {name: value for name, _, value in pairs}


def _hidden_file(settings: Settings, properties: Mapping[str, str]) -> str:
    for number, endpoint in enumerate(settings.endpoints):
        named = {"extra_ca": endpoint.extra_ca, "faq": endpoint.faq, "hearing.grammar": endpoint.hearing.grammar}
        for key, name in named.items():
            file = named_file(name) if name is not None else None
            if file is None:
                continue
            for word, (values, places) in _HIDDEN.items():
                if properties.get(word) in values and any(file.resolve().is_relative_to(place) for place in places):
                    why = f"is hidden from the daemon ({word}= of its unit); move it to /etc/kioskd"
                    return f"endpoints[{number}].{key}: {name} {why}"
    return ""


@contextlib.contextmanager
def _as(user: pwd.struct_passwd) -> Iterator[None]:
    """Files are read with this user's rights. Raises OSError."""
    group, groups = os.getegid(), os.getgroups()
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setegid(user.pw_gid)
        os.seteuid(user.pw_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
