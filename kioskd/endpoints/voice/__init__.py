"""Hearing and speech around a text model: who writes down what the visitor said, and who speaks the answer."""
