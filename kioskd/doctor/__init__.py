"""One check for each possible cause of trouble; it may look into every room."""
