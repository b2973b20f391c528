"""What the owner of the settings key can't change, though he can change the settings. PURE."""

from __future__ import annotations

from kioskd.config.schema import Settings
from kioskd.config.tool_schema import Tools


def beyond_the_key(old: Settings | None, new: Settings) -> str:
    """Why not; "" where it is for the key. A tool's command is a program: the key would be a shell after all."""
    had = old.tools if old is not None else Tools()
    if (new.tools.actions, new.tools.runner) != (had.actions, had.runner):
        return (
            "not with this key: tools.actions and tools.runner name the programs that run here; nothing was changed. "
            "On the kiosk: sudo kioskd config edit"
        )
    return ""
