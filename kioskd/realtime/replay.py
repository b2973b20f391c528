"""What was said before, put into a new session: the wire has no renewal, a conversation is lost unless it is replayed.

Source: `openai/types/realtime/conversation_item_create_event.py` and `realtime_conversation_item_*_message.py`; the
assistant's content type is `output_text` in GA and `text` in beta, and its sound can't be created (REALTIME.md).
"""

from __future__ import annotations

import binascii
import json

from attrs import frozen

from kioskd.config.schema import Dialect
from kioskd.dialogue.events import Speaker
from kioskd.value import Value

CONTINUE = "Continue."


@frozen(eq=False, repr=False)
class Said(Value):
    """A piece of the conversation: its words, or (a visitor's, where nobody wrote them down) s16le mono at 24 kHz."""

    speaker: Speaker
    text: str = ""
    pcm: bytes = b""


def item(said: Said, number: int, dialect: Dialect) -> str:
    """`conversation.item.create`, behind what the session has already."""
    content: dict[str, str]
    if said.speaker is Speaker.KIOSK:
        role, content = "assistant", {"type": "text" if dialect is Dialect.BETA else "output_text", "text": said.text}
    elif said.pcm and not said.text:
        role = "user"
        content = {"type": "input_audio", "audio": binascii.b2a_base64(said.pcm, newline=False).decode("ascii")}
    else:
        role, content = "user", {"type": "input_text", "text": said.text}
    message = {"type": "message", "role": role, "content": [content]}
    event = {"type": "conversation.item.create", "event_id": f"replay-{number}", "item": message}
    return json.dumps(event, ensure_ascii=False)
