"""kioskd: the firmware of an unattended voice kiosk."""

__version__ = "0.1.0"
