"""PURE: what the kiosk does. Events go in, effects come out; no clock, no I/O, no wire."""
