"""The text of an answer: an entry's, with its placeholders filled, or the word that nothing was understood."""

from __future__ import annotations

from datetime import datetime
from string import Formatter

from kioskd.local.faq import Faq
from kioskd.local.hear import Heard

# Not strftime: its names follow the machine's locale, the FAQ is English.
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def answer_text(faq: Faq, heard: Heard, now: datetime, *, asked: str | None = None, result: str | None = None) -> str:
    """What to say to `heard` at local time `now`: the entry's answer, or `faq.not_understood`.

    `asked` is the question before this one, `result` a tool's; an answer that needs what isn't known isn't given.
    """
    known = {"time": _time(now), "date": _date(now), "weekday": _WEEKDAYS[now.weekday()]}
    known |= {name: text for name, text in (("asked", asked), ("result", result)) if text is not None}
    for template in (heard.entry.answer if heard.entry else "", faq.not_understood):
        if template and wants(template) <= known.keys():
            return template.format(**known)
    return ""


def wants(template: str) -> set[str]:
    """The placeholders of a text."""
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def _time(now: datetime) -> str:
    # As it is said: a speech synthesiser reads 3:05 as "three zero five".
    minutes = f":{now.minute}" if now.minute >= 10 else f" oh {now.minute}" if now.minute else ""
    return f"{now.hour % 12 or 12}{minutes} {'AM' if now.hour < 12 else 'PM'}"


def _date(now: datetime) -> str:
    return f"{_MONTHS[now.month - 1]} {now.day}, {now.year}"
