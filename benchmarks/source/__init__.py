"""Read the package's own source: which file imports which, which function calls which, and how long they are."""
