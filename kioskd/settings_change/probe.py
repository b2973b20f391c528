"""Whether an endpoint would answer, before the settings that name it count."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import trio

from kioskd.config.schema import Endpoint, Settings
from kioskd.config.secrets import KeyUnavailable
from kioskd.doctor.network import would_answer
from kioskd.doctor.patient import Patient

LONGEST_S = 60.0


def probe(settings: Settings, endpoints: Sequence[Endpoint]) -> list[str]:
    """Why nobody answers there, a line for each endpoint that refuses; nothing is asked, so nothing is charged."""
    return trio.run(_probe, settings, endpoints)


async def _probe(settings: Settings, endpoints: Sequence[Endpoint]) -> list[str]:
    patient = Patient(Path(), settings, environ=dict(os.environ))
    troubles = []
    for endpoint in endpoints:
        trouble = f"no answer within {LONGEST_S:.0f} s"
        with trio.move_on_after(LONGEST_S):
            try:
                failure = await would_answer(patient, endpoint, [])
                trouble = failure.message if failure is not None else ""
            except KeyUnavailable as error:
                trouble = str(error)
        if trouble:
            troubles.append(f"{endpoint.name}: {trouble}")
    return troubles
