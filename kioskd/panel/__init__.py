"""What the visitor touches and sees: one push-to-talk button, one status lamp."""
