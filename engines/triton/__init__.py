"""Triton Inference Server: the configuration of a model, its folder in a repository, and a client."""
