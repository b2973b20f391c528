"""Changing the settings of a running kiosk, and taking the change back where it does no good."""
