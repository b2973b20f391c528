"""The doctor's round: each check in its turn, and none that another trouble makes meaningless."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio
from attrs import frozen

from kioskd.doctor.finding import Finding, Look, Verdict, failed, skipped, warned
from kioskd.doctor.patient import Patient
from kioskd.supervision import describe

_SEE = "see "
LONGEST_CHECK_S = 30.0  # an endpoint's own deadlines are shorter; a device that hangs must not hang the doctor


@frozen
class Check:
    """One possible cause. What it `needs` is looked at first, and while that is in trouble it isn't judged itself."""

    cause: str
    look: Callable[[Patient], Awaitable[Look]]
    needs: tuple[str, ...] = ()


async def examine(patient: Patient, checks: Sequence[Check]) -> list[Finding]:
    """A finding for each check, in their order. A check that breaks is a finding too; nothing is raised."""
    round_ = _Round(patient, {check.cause: check for check in checks})
    return [await round_.finding(check) for check in checks]


class _Round:
    def __init__(self, patient: Patient, checks: dict[str, Check]) -> None:
        self._patient = patient
        self._checks = checks
        self._found: dict[str, Finding] = {}

    async def finding(self, check: Check) -> Finding:
        if check.cause not in self._found:
            look = await self._in_the_way(check) or await self._look(check)
            self._found[check.cause] = Finding(check.cause, look.verdict, look.text, look.remedy)
        return self._found[check.cause]

    async def _in_the_way(self, check: Check) -> Look | None:
        for name in check.needs:
            needed = await self.finding(self._checks[name])
            if needed.verdict is Verdict.FAIL:
                return skipped(f"{_SEE}{name!r}")
            if needed.verdict is Verdict.SKIP and needed.text.startswith(_SEE):
                return skipped(needed.text)
        return None

    async def _look(self, check: Check) -> Look:
        with trio.move_on_after(LONGEST_CHECK_S):
            try:
                return await check.look(self._patient)
            except Exception as error:  # the edge of a check: the owner gets the other lines all the same
                return failed(f"the check itself failed: {describe(error)}", "tell kioskd's developers")
        return warned(f"no result within {LONGEST_CHECK_S:.0f} s")
