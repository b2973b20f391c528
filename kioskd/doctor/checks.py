"""Every possible cause, in the order in which they are likely."""

from __future__ import annotations

from kioskd.doctor import basics, machine, network, pins, service, sound
from kioskd.doctor.examination import Check

CHECKS = (
    Check("settings", basics.settings),
    Check("credential", basics.credential, ("settings",)),
    Check("clock", basics.clock),
    Check("name", network.name, ("settings", "route")),
    Check("route", network.route, ("settings",)),
    Check("proxy", network.proxy, ("settings", "route", "name")),
    Check("encryption", network.encryption, ("settings", "route", "name", "proxy", "clock")),
    Check("key accepted", network.key, ("settings", "credential", "encryption")),
    Check("model accepted", network.model, ("settings", "credential", "encryption", "key accepted")),
    Check("round trip", network.round_trip, ("settings", "key accepted", "model accepted")),
    Check("other endpoints", network.others, ("settings", "route", "clock")),
    Check("overlay", sound.overlay),
    Check("card is free", sound.holder),
    Check("groups", pins.groups),
    Check("microphone", sound.microphone, ("overlay", "card is free", "groups", "mixer")),
    Check("speaker", sound.speaker, ("overlay", "card is free", "groups", "mixer")),
    Check("mixer", sound.mixer),
    Check("chirp", sound.chirp, ("microphone", "speaker", "mixer")),
    Check("button and lamp", pins.lines, ("groups",)),
    Check("service", service.unit),
    Check("vitals", service.vitals),
    Check("disk", machine.disk),
    Check("writable", machine.writable, ("disk",)),
    Check("SD card", machine.card),
    Check("power", machine.power),
    Check("heat", machine.heat),
    Check("USB", machine.usb),
    Check("last answer", service.last_answer),
)
