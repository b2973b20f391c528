"""Names of sound devices: ALSA takes more for a name than a device's. PURE."""

from __future__ import annotations

import re

# ALSA's plugins `file` and `tee` write any file, and run any command (a file named "|..."): whoever may change the
# settings could do that, too, and as root once root's doctor tries the device. A name without a slash is a path as
# well, in the folder that the program stands in, and "pcm.file" is another name of "file".
_NAME = re.compile(r"[A-Za-z0-9_.,:=@+ -]{1,200}")
_WRITES_FILES = re.compile(r"(?<![A-Za-z0-9_-])(?:file|tee)(?![A-Za-z0-9_-])")


def trouble_with(name: str) -> str:
    """What is wrong with a name; "" for nothing."""
    if not _NAME.fullmatch(name):
        return (
            "must be a name such as plughw:CARD=Device,DEV=0 (kioskd devices lists them): letters, digits and _.,:=@+-"
        )
    if _WRITES_FILES.search(name):
        return (
            "must be a device: ALSA's file and tee write files; define such a device in /etc/asound.conf, and name that"
        )
    return ""
