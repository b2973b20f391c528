"""Whole turns under random faults, in virtual time: the server's log and the speaker's record decide who was failed."""
