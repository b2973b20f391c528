"""The first stage: worlds in virtual time on a seeded scheduler. A seed replays exactly."""

from __future__ import annotations

import gc
import logging
import random
import time
from collections import Counter
from pathlib import Path

import trio
import trio.testing
from attrs import define, field

from kioskd.chaos.cases import Fate, Limits
from kioskd.chaos.ledger import Finding, judge
from kioskd.chaos.network import MemoryGround
from kioskd.chaos.schedule import Coverage
from kioskd.chaos.trace import digest, lines
from kioskd.chaos.world import LIMITS, Outcome, Plan, run_world
from kioskd.config.schema import Dialect

WORLD_PRESSES = 500  # then a new kiosk, in the other dialect


@define
class Result:
    """What a stage found. `seconds`: how long it took on the wall."""

    presses: int = 0
    fates: Counter[Fate] = field(factory=Counter)
    findings: list[Finding] = field(factory=list)
    coverage: Coverage = field(factory=Coverage)
    trace: list[str] = field(factory=list)
    seconds: float = 0.0

    @property
    def hash(self) -> str:
        """sha256 of the trace."""
        return digest(self.trace)

    def add(self, outcome: Outcome, limits: Limits = LIMITS) -> None:
        """Judge a world and count it in."""
        verdict = judge(outcome.log, limits)
        self.fates.update(verdict.fates)
        self.findings += verdict.findings
        end = outcome.log[-1].at if outcome.log else 0.0
        self.findings += [Finding(end, 0, "leaked", what) for what in outcome.leaks]
        self.trace += lines(outcome.log)


def run(presses: int, seed: int, *, faults: bool = True, flight: Path | None = None) -> Result:
    """So many presses, in worlds of at most `WORLD_PRESSES`. `flight`: a directory for records to be replayed."""
    result = Result(presses)
    began = time.perf_counter()
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()  # what was imported is looked through no more, neither by the collector nor by the census
    try:
        for number, start in enumerate(range(0, presses, WORLD_PRESSES)):
            dialect = (Dialect.GA, Dialect.BETA)[number % 2]
            record = flight / f"world-{number}.jsonl" if flight else None
            plan = Plan(min(WORLD_PRESSES, presses - start), seed * 1000 + number, dialect, faults, flight=record)
            result.trace.append(f"world {number}: {plan.presses} presses, {dialect.value}")
            result.add(run_virtually(plan, result.coverage))
    finally:
        gc.unfreeze()
        logging.disable(logging.NOTSET)
    result.seconds = time.perf_counter() - began
    return result


def run_virtually(plan: Plan, coverage: Coverage) -> Outcome:
    """One world, in a trio run of its own. Its tasks take turns as the seed says, and time passes when all wait."""
    deterministic = trio._core._run
    before = deterministic._ALLOW_DETERMINISTIC_SCHEDULING
    deterministic._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # as trio's plugin for hypothesis does
    deterministic._r.seed(plan.seed)
    random.seed(plan.seed)  # trio-websocket draws the payload of its pings there
    try:
        clock = trio.testing.MockClock(autojump_threshold=0)
        return trio.run(run_world, plan, coverage, MemoryGround(plan.seed), clock=clock)
    finally:
        deterministic._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
