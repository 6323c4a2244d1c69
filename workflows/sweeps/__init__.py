"""A sweep: many commands over a matrix of targets, precisions, options and machines."""
