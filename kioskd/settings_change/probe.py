"""Whether a session comes up on an endpoint, before the settings that name it count."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import trio

from kioskd.config.schema import Endpoint, Settings
from kioskd.config.secrets import KeyUnavailable
from kioskd.doctor.basics import find_key
from kioskd.doctor.network import open_session
from kioskd.doctor.patient import Patient

LONGEST_S = 60.0


def probe(settings: Settings, endpoints: Sequence[Endpoint]) -> list[str]:
    """Why no session opens there, a line for each endpoint that refuses; nothing is asked, so nothing is charged."""
    return trio.run(_probe, settings, endpoints)


async def _probe(settings: Settings, endpoints: Sequence[Endpoint]) -> list[str]:
    patient = Patient(Path(), settings, environ=dict(os.environ))
    troubles = []
    for endpoint in endpoints:
        trouble = f"no session within {LONGEST_S:.0f} s"
        with trio.move_on_after(LONGEST_S):
            try:
                failure = await open_session(endpoint, find_key(patient, endpoint), [])
                trouble = failure.message if failure is not None else ""
            except KeyUnavailable as error:
                trouble = str(error)
        if trouble:
            troubles.append(f"{endpoint.name}: {trouble}")
    return troubles
