"""Refuse a module whose outputs are not a function of its inputs: there is no truth to judge its graph by."""

from .repeats import Repeats

__all__ = ["Repeats"]
