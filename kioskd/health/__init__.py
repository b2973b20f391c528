"""How the kiosk is: what its turns took."""
