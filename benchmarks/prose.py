"""Count the prose that the style asks to rewrite, by folder: in docstrings, comments, messages, README and docs.

Usage: python benchmarks/prose.py [--against REV] [--list COUNT]. ``--against`` puts the counts of a revision before
today's; ``--list`` prints every place of one count as file:line. Files are those that git knows.

- fragments: docstrings with a sentence that begins with What, Which, Whether, Where or How and asks no question.
- long: sentences of more than 30 words, in Markdown outside code. A code span or a link is one word, a cell of a table
  is a paragraph, and fewer than four words are no sentence.
- where: "where", in prose, that stands for "if"; ``is_condition`` has the heuristic.
- private: words of a dialect that no reader of the field knows, in prose and in the names of files, classes, functions.

Prose in Python is docstrings, comments and texts of more than three words.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COUNTS = ("fragments", "long", "where", "private")
LONGEST, SHORTEST = 30, 4
PRIVATE = ("told", "said", "contender", "contestant", "subject", "lossy", "handover", "forms", "apart")
_FRAGMENT = re.compile(r"(What|Which|Whether|Where|How)\b")
_PRIVATE = re.compile(rf"\b({'|'.join(PRIVATE)})s?\b", re.IGNORECASE)
_MAY_COUNT = re.compile(rf"#.*\b(where\b|({'|'.join(PRIVATE)}))", re.IGNORECASE)
_END = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<!\betc\.)(?<!\bal\.)(?<=[.!?])\s+")
# what asks for a place, or names one, just before "where"
_PLACE = re.compile(
    r"\b(say|says|state|states|show|shows|know|knows|see|sees|find|finds|found|decide|decides|names|note|notes"
    r"|tell|tells|is|are|with|and|or|of|to|from|at|place|places|line|lines|folder|folders|point|points|anywhere"
    r"|module|modules|node|nodes|stage|stages|table|page)\s*,?\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Finding:
    """One place of one count, as a person would look it up."""

    count: str
    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Tally:
    """The findings of a tree, with how many docstrings and sentences each folder has."""

    findings: tuple[Finding, ...]
    docstrings: Mapping[str, int]
    sentences: Mapping[str, int]


def tally(root: Path, files: Iterable[str]) -> Tally:
    """Count the Python and Markdown ``files`` of a tree."""
    found: list[Finding] = []
    docstrings: Counter[str] = Counter()
    sentences_of: Counter[str] = Counter()
    for name in sorted(name for name in files if name.endswith((".py", ".md"))):
        text = (root / name).read_text(encoding="utf-8")
        if name.endswith(".py"):
            nodes = list(ast.walk(ast.parse(text)))
            docs = list(_docstrings(nodes))
            docstrings[folder(name)] += len(docs)
            found += _in_python(name, text, nodes, docs)
        else:
            parts = list(sentences(text))
            sentences_of[folder(name)] += len(parts)
            found += _in_markdown(name, parts)
    return Tally(tuple(found), docstrings, sentences_of)


def folder(name: str) -> str:
    """Return the first folder of a file's name; "." for a file at the top."""
    return name.partition("/")[0] if "/" in name else "."


def _in_python(name: str, text: str, nodes: Sequence[ast.AST], docs: list[tuple[int, str]]) -> Iterator[Finding]:
    for line, doc in docs:
        if fragment := next(filter(is_fragment, split(doc)), None):
            yield Finding("fragments", name, line, fragment)
    for line, prose in [*docs, *_comments(text), *_texts(nodes, docs)]:
        yield from _words(name, line, prose)
    for line, defined in [(1, Path(name).stem), *_names(nodes)]:
        parts = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", defined).split("_")
        if any(_PRIVATE.fullmatch(part) for part in parts):
            yield Finding("private", name, line, defined)


def _in_markdown(name: str, parts: Iterable[tuple[int, str]]) -> Iterator[Finding]:
    for line, sentence in parts:
        if len(sentence.split()) > LONGEST:
            yield Finding("long", name, line, sentence)
        yield from _words(name, line, sentence)


def _words(name: str, line: int, prose: str) -> Iterator[Finding]:
    for found in re.finditer(r"\bwhere\b", prose, re.IGNORECASE):
        if is_condition(prose, found.start()):
            yield Finding("where", name, line, _around(prose, found.start()))
    for found in _PRIVATE.finditer(prose):
        yield Finding("private", name, line, _around(prose, found.start()))


def _around(prose: str, at: int) -> str:
    return " ".join(prose[max(0, at - 40) : at + 40].split())


def is_fragment(sentence: str) -> bool:
    """Return True for a sentence that begins as a question and asks none."""
    return bool(_FRAGMENT.match(sentence)) and not sentence.endswith("?")


def is_condition(prose: str, at: int) -> bool:
    """Return True if the "where" at this place of ``prose`` is taken to stand for "if".

    A heuristic: it does, unless the word before it asks for a place or names one ("says where", "the line where"), or
    it begins a question. It errs on the side of counting.
    """
    sentence = re.split(r"[.!?;|]\s", prose[at:])[0]
    return not _PLACE.search(prose[:at]) and not sentence.rstrip().endswith("?")


def split(prose: str) -> list[str]:
    """Return the sentences of one paragraph or of several."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", prose))
    return [part for paragraph in paragraphs for part in _END.split(paragraph) if part]


def sentences(markdown: str) -> Iterator[tuple[int, str]]:
    """Yield (line, sentence) outside code; a paragraph, an item of a list and a cell of a table end a sentence."""
    block: list[str] = []
    start, is_code = 1, False
    for number, line in enumerate([*markdown.splitlines(), ""], 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        ends = is_code or not line.strip() or re.match(r"\s*(```|#|<!--|!\[|\||[-*] |\d+\. )", line)
        if ends:
            yield from ((start, sentence) for sentence in _prose_sentences(block))
            block = []
        if is_code or not line.strip() or line.lstrip().startswith(("```", "<!--", "![", "#")):
            continue
        if line.lstrip().startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            yield from ((number, sentence) for cell in cells for sentence in _prose_sentences([cell]))
            continue
        if not block:
            start = number
        block.append(re.sub(r"^\s*([-*] |\d+\. )", "", line))


def _prose_sentences(lines: list[str]) -> Iterator[str]:
    text = re.sub(r"`[^`]*`", "CODE", "\n".join(lines))
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", lambda link: link[1].replace(" ", "-"), text).replace("**", "")
    for sentence in split(text):
        if len(sentence.split()) >= SHORTEST:
            yield sentence


def _docstrings(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node)
            if doc:
                yield node.body[0].lineno, doc


def _texts(nodes: Iterable[ast.AST], docs: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of strings that are prose and no docstring."""
    documented = {line for line, _ in docs}
    for node in nodes:
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and node.lineno not in documented
        if is_text and len(re.findall(r"[A-Za-z]{2,}", node.value)) > 3:
            yield node.lineno, node.value


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the comments, if one may hold a word of ``_words``: to find them all takes long."""
    if not _MAY_COUNT.search(text):
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and "noqa" not in token.string:
            yield token.start[0], token.string.lstrip("# ")


def _names(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name


def table(now: Tally, before: Tally | None = None) -> str:
    """Return the counts by folder, a total last; with ``before``, both as "before → now"."""
    folders = sorted({*now.docstrings, *now.sentences, *(before.docstrings if before else ())})
    lines = ["| folder | fragments of docstrings | long of sentences | where | private |", "| --- " * 5 + "|"]
    for name in [*folders, "all"]:
        cells = [_cells(found, name) for found in (before, now) if found is not None]
        lines.append(f"| {name} | " + " | ".join(" → ".join(pair) for pair in zip(*cells, strict=True)) + " |")
    return "\n".join(lines)


def _cells(found: Tally, name: str) -> tuple[str, ...]:
    inside: Callable[[str], bool] = lambda place: name in ("all", place)  # noqa: E731
    counted = Counter(one.count for one in found.findings if inside(folder(one.file)))
    docstrings = sum(count for place, count in found.docstrings.items() if inside(place))
    parts = sum(count for place, count in found.sentences.items() if inside(place))
    shares = [_share(counted["fragments"], docstrings), _share(counted["long"], parts)]
    return (*shares, str(counted["where"]), str(counted["private"]))


def _share(count: int, whole: int) -> str:
    return f"{count} of {whole} ({count / whole:.1%})" if whole else "-"


def at_revision(revision: str) -> Tally:
    """Return the tally of a revision that git knows; ends the program with git's line if it does not."""
    ran = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=False)
    if ran.returncode:
        line = ran.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise SystemExit(f"received --against {revision}; expected a revision; git: {''.join(line)}")
    with tempfile.TemporaryDirectory() as name, tarfile.open(fileobj=io.BytesIO(ran.stdout)) as archive:
        archive.extractall(name, filter="data")
        root = Path(name)
        return tally(root, [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()])


def today() -> Tally:
    """Return the tally of the working tree."""
    ran = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    return tally(ROOT, [name for name in ran.stdout.decode().splitlines() if (ROOT / name).is_file()])


def main() -> None:
    """Print the table, and the places of one count if asked."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--against", metavar="REV", help="put the counts of this revision before today's")
    parser.add_argument("--list", choices=COUNTS, metavar="COUNT", help=f"print its places: {', '.join(COUNTS)}")
    options = parser.parse_args()
    before = at_revision(options.against) if options.against else None  # first: a revision may not be there
    now = today()
    if options.list:
        print(*(one for one in now.findings if one.count == options.list), sep="\n")
    print(table(now, before), file=sys.stdout)


if __name__ == "__main__":
    main()
