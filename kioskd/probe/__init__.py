"""What each endpoint and transport is worth from here: key, connection, first word or sound, rate, price."""
