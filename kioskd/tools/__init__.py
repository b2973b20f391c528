"""What a model may have done on this machine: the kiosk's own tools, and the actions that its owner declared."""
