"""Stages of a verdict, one file for each way to judge a graph."""
