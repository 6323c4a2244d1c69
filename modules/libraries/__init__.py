"""Models of other libraries as targets: ``LIBRARY:NAME``, one file for each library."""
