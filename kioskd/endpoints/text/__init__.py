"""Models that read and write text, each behind its wire: the words of an answer, piece by piece."""
