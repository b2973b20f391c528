"""scripts/lab: makes the machines, breaks them, and tells how the kiosk came through."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from lab import cases_fleet, cases_nspawn, cases_pi, cases_ssh, fleet, images, nspawn, pi
from lab.report import Report
from lab.shell import CommandError, LabError, say
from lab.stage import keep_logs

TOOLS = {
    "nspawn": ("mmdebstrap", "systemd-nspawn", "ssh", "ssh-keygen", "espeak-ng"),
    "ssh": ("mmdebstrap", "systemd-nspawn", "ssh", "ssh-keygen", "sftp", "espeak-ng"),
    "fleet": ("mmdebstrap", "systemd-nspawn", "ssh", "ssh-keygen", "espeak-ng"),
    "pi": (
        "mmdebstrap",
        "systemd-nspawn",
        "ssh",
        "qemu-system-x86_64",
        "mke2fs",
        "e2fsck",
        "debugfs",
        "busybox",
        "cpio",
        "espeak-ng",
    ),
}


def main() -> int:
    """0 if every case passed, 1 if one failed, 2 if the lab itself can't work."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the machines are switched off then, too
    if options.list:
        everything = {"nspawn": cases_nspawn, "pi": cases_pi, "ssh": cases_ssh, "fleet": cases_fleet}
        for stage, cases in everything.items():
            for case in cases.CASES:
                print(f"{stage:7} {case.name:26} {case.title}")
        return 0
    if options.check:
        return _check()
    stages = [name for name in STAGES if options.stage in ("all", name, name.partition("-")[0])]
    report = Report(frozenset(options.case or ()), left_out=frozenset(options.leave_out or ()))
    out = Path(options.out) if options.out else Path(tempfile.mkdtemp(prefix="kioskd-lab-out-"))
    out.mkdir(parents=True, exist_ok=True)
    try:
        images.need_root()
        for stage in stages:
            images.need_tools(*TOOLS[stage.partition("-")[0]])
        with ThreadPoolExecutor(max_workers=2) as pool:  # they mostly wait, and do so together
            together = sorted(
                (name for name in stages if name not in ALONE), key=lambda name: name != "pi"
            )  # the longest
            running = [pool.submit(STAGES[name], report, _fresh(out / name)) for name in together]
            try:
                for task in running:
                    task.result()
            except BaseException:
                report.stopped = True
                raise
            for name in stages:
                if name in ALONE:
                    STAGES[name](report, _fresh(out / name))
            for name in stages:
                _try_again(name, report, out)
    except (LabError, CommandError) as error:
        print(f"scripts/lab: {error}", file=sys.stderr)
        return 2
    finally:
        report.write(out)
        print(report.as_json() if options.json else report.as_text(), flush=True)
        say(f"logs and recordings: {out}")
    return 0 if report.passed else 1


def _check() -> int:
    """0 where a container of a Debian from the network can be made and entered, 2 where not."""
    try:
        images.need_root()
        for tools in TOOLS.values():
            images.need_tools(*tools)
        images.enter(images.machine_root(next(iter(images.DEBIAN))), "true")
    except (LabError, CommandError, OSError) as error:
        print(f"scripts/lab: {error}", file=sys.stderr)
        return 2
    return 0


def _try_again(name: str, report: Report, out: Path) -> None:
    """A machine under real faults on a busy host: what failed gets one more chance, on a fresh machine and alone."""
    failed = report.to_try_again(name)
    if failed is None or failed:
        say(f"{name}: once more, on a fresh machine: {', '.join(sorted(failed)) if failed else 'all'}")
        again = Report(failed or frozenset(), left_out=report.left_out)
        STAGES[name](again, _fresh(out / f"{name}-again"))
        report.take_over(again)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/lab", description=__doc__)
    parser.add_argument("--stage", choices=("nspawn", *STAGES, "all"), default="all", help="which machines (all)")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this one, and what it needs; repeatable")
    parser.add_argument("--leave-out", action="append", metavar="NAME", help="not this one; repeatable")
    parser.add_argument("--check", action="store_true", help="only find out whether this machine can do it")
    parser.add_argument("--list", action="store_true", help="the cases, and nothing else")
    parser.add_argument("--out", metavar="DIR", help="where logs and recordings go (a temporary folder)")
    return parser.parse_args()


def _nspawn(suite: str, report: Report, out: Path) -> None:
    with ExitStack() as stack:
        stage = stack.enter_context(nspawn.booted(suite, out))
        stack.callback(keep_logs, stage)
        cases_nspawn.perform(stage, report)


def _pi(report: Report, out: Path) -> None:
    with ExitStack() as stack:
        stage, machine = stack.enter_context(pi.booted(out))
        stack.callback(keep_logs, stage)
        cases_pi.perform(stage, machine, report)


def _ssh(report: Report, out: Path) -> None:
    with ExitStack() as stack:
        stage = stack.enter_context(nspawn.booted("bookworm", out, "ssh"))
        stack.callback(keep_logs, stage)
        cases_ssh.perform(stage, report)


def _fleet(report: Report, out: Path) -> None:
    with fleet.booted(out) as kiosks:
        cases_fleet.perform(kiosks, report)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


STAGES: dict[str, Callable[[Report, Path], None]] = {
    **{f"nspawn-{version}": partial(_nspawn, suite) for suite, version in images.DEBIAN.items()},
    "pi": _pi,
    "ssh": _ssh,
    "fleet": _fleet,
}
ALONE = frozenset({"fleet"})  # five kiosks and Ansible keep every processor busy

if __name__ == "__main__":
    sys.exit(main())
