"""Backbones, one file per source."""
