"""The doctor's round and its page: what needs something else, what breaks, and what the owner reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kioskd.doctor.examination import Check, examine
from kioskd.doctor.finding import Finding, Look, Verdict, failed, first_trouble, passed, skipped, warned, worst
from kioskd.doctor.patient import Patient
from kioskd.doctor.report import page

ROOT = Path(__file__).parents[2]


def saying(look: Look) -> Check:
    async def tell(patient: Patient) -> Look:
        return look

    return Check(look.text, tell)


async def examined(*checks: Check) -> dict[str, Finding]:
    findings = await examine(Patient(Path("/none")), checks)
    assert [finding.cause for finding in findings] == [check.cause for check in checks]
    return {finding.cause: finding for finding in findings}


async def test_what_another_trouble_makes_meaningless_is_not_judged() -> None:
    async def never(patient: Patient) -> Look:
        raise AssertionError("not looked at")

    found = await examined(
        Check("late", never, ("middle",)), Check("middle", never, ("early",)), saying(failed("early"))
    )
    assert [finding.verdict for finding in found.values()] == [Verdict.SKIP, Verdict.SKIP, Verdict.FAIL]
    assert found["late"].text == found["middle"].text == "see 'early'"


async def test_what_does_not_apply_is_no_hindrance() -> None:
    async def fine(patient: Patient) -> Look:
        return passed("fine")

    found = await examined(
        saying(skipped("none here")), saying(warned("so so")), Check("it", fine, ("none here", "so so"))
    )
    assert found["it"].verdict is Verdict.PASS


async def test_a_check_that_breaks_is_a_line_and_the_others_follow() -> None:
    async def broken(patient: Patient) -> Look:
        raise ZeroDivisionError("oh")

    found = await examined(Check("broken", broken), saying(passed("fine")))
    assert found["broken"].verdict is Verdict.FAIL and "ZeroDivisionError: oh" in found["broken"].text
    assert found["fine"].verdict is Verdict.PASS


def finding(cause: str, verdict: Verdict, remedy: str = "") -> Finding:
    return Finding(cause, verdict, f"{cause} " * 30, remedy)


def test_the_first_that_fails_goes_before_the_first_that_warns() -> None:
    warning, failure = finding("a", Verdict.WARN), finding("b", Verdict.FAIL)
    assert first_trouble([warning, failure]) is failure
    assert first_trouble([warning, finding("c", Verdict.PASS)]) is warning
    assert first_trouble([finding("c", Verdict.SKIP)]) is None
    assert [worst([warning, failure]), worst([warning]), worst([finding("c", Verdict.SKIP)])] == [
        Verdict.FAIL, Verdict.WARN, Verdict.PASS,
    ]  # fmt: skip


def test_the_page_fits_a_terminal_but_a_remedy_is_never_broken() -> None:
    remedy = "sudo " + "very " * 30 + "long"
    lines = page([finding("power", Verdict.WARN, remedy), finding("heat", Verdict.PASS, "not shown")], 80).splitlines()
    assert [line for line in lines if len(line) > 80] == [next(line for line in lines if remedy in line)]
    assert "not shown" not in "".join(lines)
    assert lines[-1] == "It works. Have a look at: power."


def test_with_nothing_configured_there_is_a_readable_page(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kioskd", "doctor", "--quiet", "--config", str(tmp_path / "none.yaml")],
        capture_output=True, text=True, timeout=60, cwd=ROOT, env={"PATH": "/usr/bin:/bin", "COLUMNS": "80"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "")
    assert "FAIL settings" in done.stdout and "-> sudo install -D" in done.stdout
    assert done.stdout.rstrip().endswith("Begin with: settings.")
