"""Faults for exported graphs: what a validator must catch."""
