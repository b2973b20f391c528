"""Cases, one after the other, and what came of each."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import asdict, define, evolve, field, frozen

from lab.shell import CommandError, LabError, say

Evidence = dict[str, Any]


@frozen
class Case:
    """`run` returns evidence (with `recovery_s` where something was broken and mended) or raises."""

    name: str
    run: Callable[..., Evidence]

    @property
    def title(self) -> str:
        """In words."""
        return (self.run.__doc__ or self.name).strip().splitlines()[0]


@frozen
class Outcome:
    """One case's result; `recovery_s` is None where nothing had to recover."""

    stage: str
    case: str
    passed: bool
    seconds: float
    recovery_s: float | None
    evidence: Evidence
    error: str = ""
    first_error: str = ""
    """Why it failed at first, where it was tried again."""


class Failed(Exception):  # noqa: N818  (a verdict, no mishap)
    """The kiosk did not do what it should; one line says what."""


def expect(true: object, what: str) -> None:
    """Raises Failed unless it is so."""
    if not true:
        raise Failed(what)


@define
class Report:
    """Everything that came of it."""

    only: frozenset[str] = frozenset()
    outcomes: list[Outcome] = field(factory=list)
    began: float = field(factory=time.monotonic)
    left_out: frozenset[str] = frozenset()
    stopped: bool = False
    """No further case is begun."""

    def perform(self, stage: str, case: Case, *arguments: object, needed: bool = False) -> bool:
        """Run a case; True if it passed. One that isn't asked for is left out, unless others need it."""
        if self.stopped:
            return False
        if case.name in self.left_out or (self.only and case.name not in self.only and not needed):
            return True
        begin = time.monotonic()
        evidence: Evidence = {}
        error = ""
        try:
            evidence = case.run(*arguments)
        except (Failed, CommandError, LabError) as failure:
            error = str(failure)
        except Exception:  # a mistake of the lab's own is one case's, too
            error = traceback.format_exc(limit=6)
        recovery = evidence.pop("recovery_s", None)
        seconds = round(time.monotonic() - begin, 1)
        outcome = Outcome(stage, case.name, not error, seconds, recovery, evidence, error)
        self.outcomes.append(outcome)
        recovered = "" if recovery is None else f", recovered in {recovery:.1f} s"
        say(f"{stage} {case.name}: {'FAILED' if error else 'passed'} ({seconds:.1f} s{recovered})")
        for line in error.splitlines():
            say(f"    {line}")
        return not error

    def to_try_again(self, stage: str) -> frozenset[str] | None:
        """The cases of a stage that failed; None for all of them, where the first one did, which the others need."""
        seen = [outcome for outcome in self.outcomes if outcome.stage == stage]
        if not seen or not seen[0].passed:
            return None
        return frozenset(outcome.case for outcome in seen if not outcome.passed)

    def take_over(self, again: Report) -> None:
        """What came of the second try counts, and the first one isn't forgotten."""
        errors = {(outcome.stage, outcome.case): outcome.error for outcome in self.outcomes}
        repeated = {(outcome.stage, outcome.case) for outcome in again.outcomes}
        self.outcomes = [outcome for outcome in self.outcomes if (outcome.stage, outcome.case) not in repeated]
        for outcome in again.outcomes:
            first_error = errors.get((outcome.stage, outcome.case), "")
            self.outcomes.append(evolve(outcome, first_error=first_error))

    @property
    def passed(self) -> bool:
        """Whether all did, and there were some."""
        return bool(self.outcomes) and all(outcome.passed for outcome in self.outcomes)

    def as_json(self) -> str:
        """The summary."""
        whole = {
            "passed": self.passed,
            "seconds": round(time.monotonic() - self.began, 1),
            "cases": [asdict(outcome) for outcome in self._in_order()],
        }
        return json.dumps(whole, indent=2, default=str)

    def as_text(self) -> str:
        """A line a case."""
        lines = [f"{'stage':10} {'case':26} {'':6} {'took':>7} {'recovery':>9}"]
        for outcome in self._in_order():
            verdict = "pass" if outcome.passed else "FAIL"
            recovery = "" if outcome.recovery_s is None else f"{outcome.recovery_s:.1f} s"
            lines.append(f"{outcome.stage:10} {outcome.case:26} {verdict:6} {outcome.seconds:5.1f} s {recovery:>9}")
            lines += [f"    {line}" for line in outcome.error.splitlines()[:3]]
            lines += [f"    at first: {line}" for line in outcome.first_error.splitlines()[:3]]
        failed = sum(not outcome.passed for outcome in self.outcomes)
        return "\n".join([*lines, f"{len(self.outcomes)} cases, {failed} failed"])

    def _in_order(self) -> list[Outcome]:
        return sorted(self.outcomes, key=lambda outcome: outcome.stage)

    def write(self, folder: Path) -> None:
        """Keep it beside the logs."""
        (folder / "report.json").write_text(self.as_json() + "\n")
