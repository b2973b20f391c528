"""A private PulseAudio for the whole session, in the environment before any PCM is opened: alsa-lib reads it once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kioskd.simulator.pulse import PrivatePulse, PulseError


@pytest.fixture(scope="session")
def pulse_session() -> Iterator[PrivatePulse]:
    try:
        server = PrivatePulse()
        with server:
            before = dict(os.environ)
            os.environ.update(server.environment)
            yield server
            os.environ.clear()
            os.environ.update(before)
    except PulseError as error:
        pytest.fail(str(error))


@pytest.fixture
def pulse(pulse_session: PrivatePulse) -> Iterator[PrivatePulse]:
    """The running server; a test may kill, freeze or suspend it: the next test finds it whole."""
    if not pulse_session.running:
        pulse_session.start()
    yield pulse_session
    pulse_session.thaw()
    if pulse_session.running:
        for sink in ("spk", "mic"):
            pulse_session.suspend(sink, False)
