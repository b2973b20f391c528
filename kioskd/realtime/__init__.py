"""The Realtime wire in its dialects. PURE: no I/O, no clock, no randomness (the model is h11)."""
