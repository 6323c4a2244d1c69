"""The work of each command, one file for each, as functions of Python."""
