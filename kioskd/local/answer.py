"""The text of an answer: an entry's, with its placeholders filled, or the word that nothing was understood."""

from __future__ import annotations

from datetime import datetime

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


def answer_text(faq: Faq, heard: Heard, now: datetime) -> str:
    """What to say to `heard` at local time `now`: the entry's answer, or `faq.not_understood`."""
    template = heard.entry.answer if heard.entry else faq.not_understood
    return template.format(time=_time(now), date=_date(now), weekday=_WEEKDAYS[now.weekday()])


def _time(now: datetime) -> str:
    # As it is said: a speech synthesiser reads 3:05 as "three zero five".
    minutes = f":{now.minute}" if now.minute >= 10 else f" oh {now.minute}" if now.minute else ""
    return f"{now.hour % 12 or 12}{minutes} {'AM' if now.hour < 12 else 'PM'}"


def _date(now: datetime) -> str:
    return f"{_MONTHS[now.month - 1]} {now.day}, {now.year}"
