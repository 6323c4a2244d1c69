"""Judge a graph: cases, reference, metrics, verdict."""
