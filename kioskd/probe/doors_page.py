"""Which doors a host has: as a table of 80 columns, and as JSON. PURE."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from kioskd.probe.doors import Answers, Found

WIDTH = 80


def table(host: str, found: Sequence[Found], with_key: bool) -> str:
    """A door a line, and what to make of it."""
    key = "with the key of the settings" if with_key else "without a key: no endpoint of the settings is there"
    lines = textwrap.wrap(f"{host}, {key}. Nothing was asked of a model.", WIDTH)
    for each in found:
        door = each.door
        path = door.path.partition("?")[0] + ("*" if door.unverified else "")
        lines.append(f"{door.method:<5}{path:<28}{door.what:<32}{each.answers.value}"[:WIDTH])
        more = each.said if not each.dialect else f"{each.said}: speaks {each.dialect}"
        plain = each.answers is Answers.NO and not each.dialect
        if more and not plain and not (each.answers is Answers.YES and door.method != "WS"):
            lines += textwrap.wrap(more, WIDTH, initial_indent="       ", subsequent_indent="       ")
    if any(each.answers is Answers.LOCKED for each in found):
        lines.append("locked: it is there, but not for this key")
    if any(each.answers is Answers.UNCLEAR for each in found):
        lines.append("can't tell: it answers as any path does, or is in trouble")
    if any(each.door.unverified for each in found):
        lines.append("* unverified: no public source tells what this path is for")
    return "\n".join(lines)


def as_json(host: str, found: Sequence[Found], with_key: bool) -> str:
    """The same."""
    doors = [
        {
            "method": each.door.method,
            "path": each.door.path,
            "what": each.door.what,
            "answers": each.answers.name.lower(),
            "dialect": each.dialect or None,
            "said": each.said or None,
            "unverified": each.door.unverified,
        }
        for each in found
    ]
    return json.dumps({"host": host, "with_key": with_key, "doors": doors}, indent=2)
