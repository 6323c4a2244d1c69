"""Parts of ``localize.py``: the modules that are exported, and the faults that are put into their graphs."""
