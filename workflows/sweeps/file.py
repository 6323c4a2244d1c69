"""The file of a sweep: TOML, each mistake in it one line that names the place, what was expected and the nearest."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ...core.hidden_folder import LONGEST_NAME
from ...core.input_path import require_readable
from ...core.nearest import nearest
from ...core.precision import parse_precisions
from ...core.schedule import Needs
from ...errors import InputError, MissingRequirement
from ...modules.target import file_name
from ..options import AUTO
from .verbs import OWN_OPTIONS, VERBS, Verb

LARGEST_BYTES = 4 << 20
MOST_JOBS = 100_000
# Most exports of blocks and common backbones take less, PyTorch included.
DEFAULT_MEMORY_GIB = 2.0
RESOURCES: Mapping[str, tuple[type, ...]] = {
    "cpus": (int, float),
    "memory_gib": (int, float),
    "gpus": (int, float),
    "accelerator": (str,),
}
Values = Mapping[str, Any]  # options of one command, by their long names without the dashes


@dataclass(frozen=True)
class Machine:
    """A kind of machine to run on: its name, and what a job there needs of it."""

    name: str = ""
    needs: Needs = field(default_factory=lambda: Needs(memory_bytes=round(DEFAULT_MEMORY_GIB * 2**30)))


@dataclass(frozen=True)
class OptionSet:
    """One point on the axis of options: its name, and options by command."""

    name: str = ""
    values: Mapping[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepFile:
    """The content of a sweep's file, checked as far as the file alone tells.

    Attributes:
        source: The file as errors name it.
        verbs: The commands, in the order in which they run.
        targets: What they run on: targets of deploy, bundles or ONNX files.
        precisions: One value of --precision each.
        common: Options of every job, by command.
        options: The axis of options.
        machines: The axis of machines, for commands whose result is about one.
        resources: What a job needs that may run on any machine.
    """

    source: str
    verbs: tuple[Verb, ...]
    targets: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32",)
    common: Mapping[str, Values] = field(default_factory=dict)
    options: tuple[OptionSet, ...] = (OptionSet(),)
    machines: tuple[Machine, ...] = (Machine(),)
    resources: Machine = field(default_factory=Machine)

    @property
    def producer(self) -> Verb | None:
        """The command that makes the bundle, if one does."""
        return next((verb for verb in self.verbs if verb.makes_bundle), None)


def read_file(file: Path) -> SweepFile:
    """Read the file of a sweep.

    Raises:
        InputError: It is no TOML, or holds a mistake: an unknown or missing key, a wrong type, an empty axis, a
            duplicate, or commands that do not go together.
        MissingRequirement: Python is older than 3.11, and tomli is not installed.
    """
    require_readable(file, "the TOML file of a sweep")
    if file.stat().st_size > LARGEST_BYTES:
        raise InputError(f"received {file}, which is larger than {LARGEST_BYTES >> 20} MiB; expected a sweep's TOML")
    return parse(_toml(file), str(file))


def parse(document: Mapping[str, Any], source: str) -> SweepFile:
    """Return what the document of a file asks for; raises InputError as ``read_file`` does."""
    return _Parser(source).parse(document)


def _toml(file: Path) -> Mapping[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise MissingRequirement(
                f"received {file}; expected tomli, which reads TOML in Python 3.10; pip install tomli"
            ) from None
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"received {file}, which is no TOML ({error}); expected tables and keys; correct it") from None


class _Parser:
    """Turns a document into a SweepFile, or into the error of its first mistake."""

    def __init__(self, source: str) -> None:
        self._source = source

    def parse(self, document: Mapping[str, Any]) -> SweepFile:
        keys = ("verbs", "targets", "precisions", "options", "machines", "resources", *VERBS)
        self._known(document, keys, "")
        verbs = self._verbs(self._strings(document, "verbs", ("deploy",)))
        options = self._options(document.get("options"), verbs)
        found = SweepFile(
            source=self._source,
            verbs=verbs,
            targets=self._targets(document),
            precisions=self._precisions(document, verbs),
            common={name: self._table(document[name], f"[{name}]") for name in VERBS if name in document},
            options=options,
            machines=self._machines(document.get("machines"), verbs),
            resources=Machine(
                "", self._needs(self._table(document.get("resources", {}), "[resources]"), "[resources]")
            ),
        )
        for name, values in found.common.items():
            self._used(name, verbs, f"[{name}]")
            self._values(values, f"[{name}]")
        count = len(verbs) * len(found.targets) * len(found.precisions) * len(options) * len(found.machines)
        if count > MOST_JOBS:
            self._refuse(f"{count} jobs", f"at most {MOST_JOBS}", "split the file")
        return found

    def _refuse(self, received: str, expected: str, fix: str) -> NoReturn:
        raise InputError(f"received {received} in {self._source}; expected {expected}; {fix}")

    def _known(self, table: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
        for key in table:
            if key not in keys:
                place = f" under {where}" if where else ""
                fix = nearest(str(key), keys, "correct or remove it")
                self._refuse(f"the key {key!r}{place}", f"one of {', '.join(keys)}", fix)

    def _table(self, value: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._refuse(f"{where} = {value!r}", "a table of keys", f"write it as {where}")
        return dict(value)

    def _tables(self, value: Any, where: str) -> list[Mapping[str, Any]]:
        """Return an axis of named tables, ``[[where]]``; each has a name, and no two the same."""
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self._refuse(f"{where} = {value!r}", "a list of tables", f"write each as [[{where}]] with a name")
        if not value:
            self._refuse(f"an empty list of {where}", "one or more", f"add one, or remove {where}")
        names = []
        for entry in value:
            name = entry.get("name")
            if not isinstance(name, str) or not name or file_name(name) != name:
                self._refuse(
                    f"name = {name!r} under [[{where}]]",
                    f"a word of at most {LONGEST_NAME} letters, digits, '.', '-' and '_', which names folders",
                    "correct it",
                )
            names.append(name)
        self._once(names, f"[[{where}]] named")
        return [dict(entry) for entry in value]

    def _strings(self, document: Mapping[str, Any], key: str, default: tuple[str, ...] | None = None) -> list[str]:
        if key not in document:
            if default is None:
                self._refuse(f"no {key}", f'a list of strings, as {key} = ["cbam", "resnet50+eca"]', "add it")
            return list(default or ())
        value = document[key]
        if not isinstance(value, list) or not all(isinstance(entry, str) and entry.strip() for entry in value):
            self._refuse(f"{key} = {value!r}", "a list of strings that are not empty", 'write it as ["a", "b"]')
        if not value:
            self._refuse(f"an empty list of {key}", "one or more: an empty axis leaves no job", "add one")
        self._once(value, f"in {key}")
        return [str(entry) for entry in value]

    def _once(self, names: Sequence[str], where: str) -> None:
        seen: set[str] = set()
        for name in names:
            if name in seen:
                self._refuse(f"{name!r} twice {where}", "each once", "remove one")
            seen.add(name)

    def _verbs(self, names: Sequence[str]) -> tuple[Verb, ...]:
        for name in names:
            if name not in VERBS:
                self._refuse(f"the verb {name!r}", ", ".join(VERBS), nearest(name, VERBS, "correct it"))
        verbs = tuple(VERBS[name] for name in names)
        makers = [verb.name for verb in verbs if verb.makes_bundle]
        if len(makers) > 1:
            self._refuse(f"the verbs {' and '.join(makers)}", "one that makes the bundle", "remove one")
        if makers and not verbs[0].makes_bundle:
            self._refuse(f"the verb {makers[0]} after {verbs[0].name}", "it first", "change the order")
        takers = [verb.name for verb in verbs if verb.takes == "bundle"]
        others = [verb.name for verb in verbs if verb.takes == "target"]
        if takers and others and not makers:
            self._refuse(
                f"the verbs {', '.join(others)}, which take targets, and {', '.join(takers)}, which take bundles",
                "deploy before them",
                "add deploy, or split the file",
            )
        return verbs

    def _targets(self, document: Mapping[str, Any]) -> tuple[str, ...]:
        targets = self._strings(document, "targets")
        folders: dict[str, str] = {}
        for target in targets:
            other = folders.setdefault(file_name(target), target)
            if other != target:
                self._refuse(
                    f"the targets {other!r} and {target!r}", "names that give different folders", "rename one of them"
                )
        return tuple(targets)

    def _precisions(self, document: Mapping[str, Any], verbs: Sequence[Verb]) -> tuple[str, ...]:
        precisions = self._strings(document, "precisions", ("fp32",))
        if "precisions" in document and not any(verb.has_precision for verb in verbs):
            names = [verb.name for verb in VERBS.values() if verb.has_precision]
            self._refuse("precisions", f"a verb that takes one: {', '.join(names)}", "remove them, or add the verb")
        for precision in precisions:
            names = [name.strip() for name in precision.split(",")]
            if names != [AUTO]:
                try:
                    parse_precisions(names)
                except InputError as error:
                    raise InputError(f"{self._source}, in precisions: {error}") from None
        folders = [folder_of(precision) for precision in precisions]
        self._once(folders, "in precisions")
        return tuple(precisions)

    def _options(self, value: Any, verbs: Sequence[Verb]) -> tuple[OptionSet, ...]:
        if value is None:
            return (OptionSet(),)
        sets = []
        for entry in self._tables(value, "options"):
            where = f"[[options]] named {entry['name']!r}"
            self._known(entry, ("name", *VERBS), where)
            tables = {name: self._table(entry[name], f"{name} under {where}") for name in VERBS if name in entry}
            for name, values in tables.items():
                self._used(name, verbs, where)
                self._values(values, f"{name} under {where}")
            sets.append(OptionSet(entry["name"], tables))
        for number, first in enumerate(sets):
            for second in sets[:number]:
                if first.values == second.values:
                    self._refuse(
                        f"the same options under the names {second.name!r} and {first.name!r}",
                        "each job once",
                        "remove one",
                    )
        return tuple(sets)

    def _used(self, name: str, verbs: Sequence[Verb], where: str) -> None:
        if name not in [verb.name for verb in verbs]:
            self._refuse(
                f"options of {name} under {where}", f"those of {', '.join(verb.name for verb in verbs)}", "correct it"
            )

    def _values(self, values: Values, where: str) -> None:
        for name, value in values.items():
            if name in OWN_OPTIONS:
                fix = "give precisions = [...] instead" if name == "precision" else "remove it"
                self._refuse(f"the key {name!r} under {where}", "an option that the sweep does not set itself", fix)
            entries = value if isinstance(value, list) else [value]
            if not entries or not all(isinstance(entry, str | int | float) for entry in entries):
                self._refuse(
                    f"{name} = {value!r} under {where}", "text, a number, true, false or a list of them", "correct it"
                )

    def _machines(self, value: Any, verbs: Sequence[Verb]) -> tuple[Machine, ...]:
        if value is None:
            return (Machine(),)
        if not any(verb.is_on_machine for verb in verbs):
            names = [verb.name for verb in VERBS.values() if verb.is_on_machine]
            self._refuse("machines", f"a verb that runs on each: {', '.join(names)}", "remove them, or add the verb")
        found = []
        for entry in self._tables(value, "machines"):
            where = f"[[machines]] named {entry['name']!r}"
            given = {key: found for key, found in entry.items() if key != "name"}
            found.append(Machine(entry["name"], self._needs(given, where)))
        return tuple(found)

    def _needs(self, table: Mapping[str, Any], where: str) -> Needs:
        self._known(table, (*RESOURCES,), where)
        for key, value in table.items():
            kinds = RESOURCES[key]
            is_right = isinstance(value, kinds) and not isinstance(value, bool)
            if is_right and kinds == (str,):
                is_right = bool(value.strip())
            elif is_right:
                is_right = 0 <= value < float("inf") and (value > 0 or key == "gpus")
            if not is_right:
                expected = "the name of a GPU, as L4" if kinds == (str,) else "a number above 0"
                self._refuse(f"{key} = {value!r} under {where}", expected, "correct it")
        accelerator = str(table.get("accelerator", ""))
        return Needs(
            cpus=float(table.get("cpus", 1.0)),
            memory_bytes=round(float(table.get("memory_gib", DEFAULT_MEMORY_GIB)) * 2**30),
            gpus=float(table.get("gpus", 1.0 if accelerator else 0.0)),
            accelerator=accelerator,
        )


def folder_of(precision: str) -> str:
    """Return a value of --precision as it stands in the name of a folder."""
    return "+".join(name.strip() for name in precision.split(","))
