"""The doctor's page: as text for a terminal, as JSON for a program. PURE."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence

from kioskd.doctor.finding import Finding, Verdict, first_trouble, worst

_MARKS = {Verdict.PASS: "pass", Verdict.SKIP: "  - ", Verdict.WARN: "WARN", Verdict.FAIL: "FAIL"}
_CAUSE_WIDTH = 16
_INDENT = " " * (_CAUSE_WIDTH + 7)


def page(findings: Sequence[Finding], width: int = 80) -> str:
    """One line a cause, a remedy below what is wrong, and the most likely cause at the end."""
    return "\n".join(_lines(findings, max(width, 60)))


def _lines(findings: Sequence[Finding], width: int) -> Iterator[str]:
    for finding in findings:
        yield from textwrap.wrap(
            f"{_MARKS[finding.verdict]} {finding.cause:<{_CAUSE_WIDTH}}  {finding.text}",
            width,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        if finding.remedy and finding.verdict in (Verdict.WARN, Verdict.FAIL):
            yield f"{_INDENT}-> {finding.remedy}"  # never wrapped: it is to be pasted
    trouble = first_trouble(findings)
    yield ""
    if trouble is None:
        yield "Nothing wrong was found."
    else:
        begin = "Begin with" if trouble.verdict is Verdict.FAIL else "It works. Have a look at"
        yield f"{begin}: {trouble.cause}."


def as_json(findings: Sequence[Finding]) -> str:
    """The same, on one line."""
    trouble = first_trouble(findings)
    return json.dumps(
        {
            "verdict": worst(findings).value,
            "first": trouble.cause if trouble else None,
            "findings": [finding.as_dict() for finding in findings],
        }
    )
