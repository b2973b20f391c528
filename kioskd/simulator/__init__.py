"""The embedded endpoint, a real Realtime server on loopback, and the virtual hardware of a machine without any."""
