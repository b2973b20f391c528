"""The demonstration: a kiosk and whoever answers it on one machine, with a visitor who is real or scripted."""
