"""A verdict in the formats that continuous integration reads."""
