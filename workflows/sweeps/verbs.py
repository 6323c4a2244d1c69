"""The commands that a sweep can run: what each takes, what it leaves behind, and where it has to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Verb:
    """A command of attn2trt as a job.

    Attributes:
        name: The command.
        takes: ``target``; ``bundle``: the one that the jobs before it made; ``either``: the target if there is none.
        makes_bundle: True if it writes a bundle from a target.
        has_precision: True if it has --precision.
        has_document: True if it writes a document with -o.
        is_on_machine: True if its result is about the machine that it runs on.
        is_timed: True if it measures time, so that nothing else may run on the machine meanwhile.
        needs_torch: True if it loads PyTorch, which its process then has ready.
    """

    name: str
    takes: Literal["target", "bundle", "either"]
    makes_bundle: bool = False
    has_precision: bool = False
    has_document: bool = False
    is_on_machine: bool = False
    is_timed: bool = False
    needs_torch: bool = False

    @property
    def document(self) -> str:
        """The name of its document; empty if it writes none."""
        return f"{self.name}.json" if self.has_document else ""


VERBS = {
    verb.name: verb
    for verb in (
        Verb("deploy", "target", makes_bundle=True, has_precision=True, needs_torch=True),
        Verb("export", "target", makes_bundle=True, has_precision=True, needs_torch=True),
        Verb("check", "target", has_precision=True, needs_torch=True),
        Verb("compile", "bundle", has_precision=True, is_on_machine=True),
        Verb("tune", "bundle", is_on_machine=True, is_timed=True),
        Verb("validate", "bundle", is_on_machine=True),
        Verb("benchmark", "either", has_document=True, is_on_machine=True, is_timed=True, needs_torch=True),
        Verb("cost", "target", has_document=True, is_on_machine=True, is_timed=True, needs_torch=True),
    )
}
# Options that a sweep gives each command by itself.
OWN_OPTIONS = ("precision", "out", "json", "force", "jobs", "format", "plot", "verbose", "debug", "help")
