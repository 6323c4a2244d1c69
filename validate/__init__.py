"""Is it right: cases, reference, metrics, verdict."""
