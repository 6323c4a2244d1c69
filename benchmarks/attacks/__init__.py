"""Attacks on the command line, a row for each family; no attack writes outside of its temporary folder."""

from __future__ import annotations

from attacks import checkpoints, files, inputs, kills, machine, manifests, modules, onnx_files, places
from attacks.record import NotRun, Row, Scene, Trial, play

FAMILIES = (kills, files, manifests, checkpoints, modules, places, machine, inputs, onnx_files)
ROWS: dict[str, Row] = {row.name: row for family in FAMILIES for row in family.ROWS}

__all__ = ["ROWS", "NotRun", "Row", "Scene", "Trial", "play"]
