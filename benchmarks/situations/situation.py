"""A situation that users reported of some exporter: a small module, how it is deployed, and what must come of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Factory = TypeVar("Factory", bound=Callable[..., Any])

NOT_TRIED = ""


@dataclass(frozen=True)
class Expected:
    """The exit code of a deploy and, unless it is 0, a pattern of the words that it must print.

    ``instead`` is what to do, if the last part of what it prints does not say that.
    """

    exit_code: int
    words: str = ""
    instead: str = ""

    def holds(self, exit_code: int, text: str) -> bool:
        """Return True if this is what was expected."""
        return exit_code == self.exit_code and re.search(self.words, text) is not None

    def __str__(self) -> str:
        return "passes" if not self.exit_code else "is refused" if self.exit_code == 2 else "fails"


PASSES = Expected(0)


def refused(words: str, instead: str = "") -> Expected:
    """Refused with a line that matches ``words``."""
    return Expected(2, words, instead)


def fails(words: str, instead: str = "") -> Expected:
    """A failed verdict whose reason matches ``words``."""
    return Expected(1, words, instead)


@dataclass(frozen=True)
class Deploy:
    """One way to deploy the module: the options, what came of it before, and what must come of it now.

    ``before`` is what was recorded at the commit that the page names; NOT_TRIED if nothing was.
    """

    options: str
    before: str
    now: Expected


@dataclass(frozen=True)
class Situation:
    """``target`` is what ``attn2trt deploy`` is given, with the folder of this package on Python's path."""

    name: str
    title: str
    links: tuple[str, ...]
    deploys: tuple[Deploy, ...]
    target: str


SITUATIONS: dict[str, Situation] = {}


def situation(title: str, *about: str | Deploy) -> Callable[[Factory], Factory]:
    """Add the decorated module class or factory, called without arguments, to ``SITUATIONS``.

    ``about`` are links to public reports, then the ways to deploy it.
    """
    links = tuple(part for part in about if isinstance(part, str))
    deploys = tuple(part for part in about if isinstance(part, Deploy))

    def add(factory: Factory) -> Factory:
        name = factory.__name__
        SITUATIONS[name] = Situation(name, title, links, deploys, f"py:{factory.__module__}:{name}")
        return factory

    return add
