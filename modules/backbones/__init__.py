"""Backbones: one file for each that timm lacks, and one for timm."""
