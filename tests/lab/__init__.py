"""The laboratory: kioskd installed on whole machines, under real systemd, with real faults. Run by scripts/lab.

Not a part of the everyday tests: it needs root, and minutes.
"""
