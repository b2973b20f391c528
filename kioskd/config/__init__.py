"""The owner's settings: their shape, how they are read, and what every mistake is called."""
