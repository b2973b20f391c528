"""The flight recorder: the last minutes of events and effects, kept so that a kill can't take them away."""
