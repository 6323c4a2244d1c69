"""Predictions on a data set: read from outputs, compared between runtimes, and scored by labels."""
