"""The microphone and the speaker: two threads around ALSA, and their stand-ins of WAV files."""
