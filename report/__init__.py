"""Verdicts and measurements as tables."""
