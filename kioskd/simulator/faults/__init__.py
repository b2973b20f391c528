"""What can go wrong on the way to an endpoint and at it, done on purpose: which, when, and how."""
