"""kioskd doctor: one line for each possible cause of trouble, with its remedy."""

from __future__ import annotations

import argparse
import shutil

from kioskd.commands import exits, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--json, --quiet, --config, --socket."""
    parser.add_argument("--json", action="store_true", help="on one line, for a program")
    parser.add_argument("--quiet", action="store_true", help="play no test sound")
    options.add_config(parser)
    options.add_socket(parser)


def run(arguments: argparse.Namespace) -> int:
    """0: nothing wrong; 1: it works, with warnings; 2: something must be mended."""
    import trio

    from kioskd.doctor.basics import read_settings
    from kioskd.doctor.checks import CHECKS
    from kioskd.doctor.examination import examine
    from kioskd.doctor.finding import Verdict, worst
    from kioskd.doctor.patient import Patient
    from kioskd.doctor.report import as_json, page

    patient = Patient(arguments.config, chirp=not arguments.quiet)
    patient.ask_daemon(arguments.socket)
    read_settings(patient)
    findings = trio.run(examine, patient, CHECKS)
    print(as_json(findings) if arguments.json else page(findings, shutil.get_terminal_size().columns))
    return {Verdict.WARN: exits.FAILED, Verdict.FAIL: exits.USAGE}.get(worst(findings), exits.OK)
