"""What a check finds: one line of the doctor's page. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

from attrs import frozen


class Verdict(Enum):
    """How it stands with one possible cause. `SKIP`: it couldn't be judged, since another trouble comes first."""

    PASS = "pass"
    SKIP = "skip"
    WARN = "warn"
    FAIL = "fail"


@frozen
class Finding:
    """One line of the page. `remedy` is a command to be pasted wherever there is one, else an instruction."""

    cause: str
    verdict: Verdict
    text: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {"cause": self.cause, "verdict": self.verdict.value, "text": self.text, "remedy": self.remedy}


@frozen
class Look:
    """What looking brought, before it is known which line it belongs to."""

    verdict: Verdict
    text: str
    remedy: str = ""


def passed(text: str) -> Look:
    """Nothing wrong."""
    return Look(Verdict.PASS, text)


def skipped(text: str) -> Look:
    """It can't be judged, or there is nothing to judge."""
    return Look(Verdict.SKIP, text)


def warned(text: str, remedy: str = "") -> Look:
    """The kiosk works, but not for long, or not well."""
    return Look(Verdict.WARN, text, remedy)


def failed(text: str, remedy: str = "") -> Look:
    """The kiosk doesn't work until this is mended."""
    return Look(Verdict.FAIL, text, remedy)


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict of the whole page; what couldn't be judged doesn't count."""
    order = [Verdict.PASS, Verdict.WARN, Verdict.FAIL]
    judged = [finding.verdict for finding in findings if finding.verdict is not Verdict.SKIP]
    return max(judged, key=order.index, default=Verdict.PASS)


def first_trouble(findings: Sequence[Finding]) -> Finding | None:
    """The most likely cause: the first line that fails, else the first that warns."""
    for verdict in (Verdict.FAIL, Verdict.WARN):
        for finding in findings:
            if finding.verdict is verdict:
                return finding
    return None
