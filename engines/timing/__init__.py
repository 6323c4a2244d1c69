"""Latency: how often a model is called, on what, in which order, and what is reported of it."""
