"""What the owner of the settings key can't change, though he can change the settings. PURE."""

from __future__ import annotations

import attrs

from kioskd.config.schema import Settings
from kioskd.config.tool_schema import Tools

_FOR_THE_KEY = ("built_in", "answer_spoken")  # of tools; what is added there is not, until it is named here


def beyond_the_key(old: Settings | None, new: Settings) -> str:
    """Why not; "" where it is for the key.

    A tool's command is a program: the key would be a shell after all. An answer's schema takes the place of the
    parameters of the action that gets the answers: it would undo what the owner lets this program be called with.
    """
    had = old.tools if old is not None else Tools()
    names = [each.name for each in attrs.fields(Tools) if each.name not in _FOR_THE_KEY]
    changed = [f"tools.{name}" for name in names if getattr(new.tools, name) != getattr(had, name)]
    if changed:
        return (
            f"not with this key: {', '.join(changed)}: tools name the programs that run here, and what they are "
            "called with; nothing was changed. On the kiosk: sudo kioskd config edit"
        )
    return ""
