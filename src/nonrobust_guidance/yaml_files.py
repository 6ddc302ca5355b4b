"""YAML as this project reads and writes it: version 1.2, no duplicate keys, and one sentence about any error."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import VersionedResolver

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically

# No run file comes near these limits; a file beyond them is an attack on its reader, or not a run file.
_MOST_BYTES = 1_000_000
_MOST_VALUES = 100_000
_DEEPEST = 50
_MOST_SHOWN = 100

_TAG = "tag:yaml.org,2002:"
_SCALARS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str")}
# YAML 1.2 has no dates: 2024-01-01 is a text, and so is a lone =.
_TEXTS_SINCE = {f"{_TAG}timestamp", f"{_TAG}value"}
_RESOLVER = VersionedResolver(version="1.2")
_MARKS_OF_UTF = [(codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32")]
_MARKS_OF_UTF += [(codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")]


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds: mappings by texts, lists, texts, numbers, true, false and None.

    Raises:
        UserError: if it cannot be read, is not UTF-8 or not YAML, has a key twice, or is not a single plain document.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name an existing file that you may read") from None
    if len(content) > _MOST_BYTES:
        raise UserError(f"{path} is larger than {_MOST_BYTES // 1_000_000} MB; name a file of settings")
    return parse_yaml(content, str(path))


def parse_yaml(content: bytes | str, source: str) -> Any:
    """Return the content of a YAML text.

    Args:
        content: the text; bytes are UTF-8.
        source: where it comes from, for messages.

    Raises:
        UserError: as `read_yaml` does.
    """
    text = _decoded(content, source) if isinstance(content, bytes) else content
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Constructor
    reader.max_depth = _DEEPEST
    reader.composer.warn_double_anchors = False
    try:
        return reader.load(text)
    except UserError as mistake:
        raise UserError(f"{source}: {mistake}") from None
    except (YAMLError, RecursionError, AssertionError) as error:
        raise UserError(_complaint(error, text, source)) from None


def dump_yaml(value: Any) -> str:
    """Return a value as YAML that reads the same here and as YAML 1.1, which Snakemake reads."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)


def write_yaml(value: Any, path: Path) -> None:
    """Write a value as `dump_yaml` formats it, leaving a file that already has the same content untouched."""
    text = dump_yaml(value)
    if not (path.is_file() and path.read_bytes() == text.encode()):
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def dotted(path: Sequence[Any]) -> str:
    """Return the keys and indices that lead to a value as one key: ``a.b[0]``."""
    keys = (f"[{part}]" if isinstance(part, int) else f".{quoted(str(part))[1:-1]}" for part in path)
    return "".join(keys).removeprefix(".")


def quoted(text: str) -> str:
    """Return a text between quotes, on one line and cut short, to be shown in a sentence."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode()
    return f"'{shown[:_MOST_SHOWN]}...'" if len(shown) > _MOST_SHOWN else f"'{shown}'"


class _Constructor(SafeConstructor):
    def construct_document(self, node: Node) -> Any:
        self._measure(node, (), {}, set())
        return super().construct_document(node)

    def _measure(self, node: Node, path: tuple[Any, ...], known: dict[int, int], above: set[int]) -> int:
        """Check a node and all that it contains, and return how many values it has once aliases are expanded."""
        key, line = dotted(path) or "the file", node.start_mark.line + 1
        if id(node) in above:
            raise UserError(f"{key} is an alias of what it stands in, from line {line}; write out what you mean")
        if id(node) in known:
            return known[id(node)]
        children: list[tuple[Any, Node]] = []
        if isinstance(node, ScalarNode):
            self._check_scalar(node, key, line)
        elif isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            children = _entries(node, path)
        elif isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            children = list(enumerate(node.value))
        else:
            raise _tagged(node, key)
        inside = above | {id(node)}
        size = 1 + sum(self._measure(child, (*path, part), known, inside) for part, child in children)
        if size > _MOST_VALUES:
            raise UserError(f"{key} holds more than {_MOST_VALUES} values, with its aliases written out; write less")
        known[id(node)] = size
        return size

    def _check_scalar(self, node: ScalarNode, key: str, line: int) -> None:
        _as_of_yaml_1_2(node)
        if node.tag not in _SCALARS:
            raise _tagged(node, key)
        try:
            self.construct_object(node)
        except (ValueError, KeyError):
            kind = str(node.tag).removeprefix(_TAG)
            raise UserError(f"{key} cannot be read as {kind} at line {line}; correct it") from None


def _entries(node: MappingNode, path: tuple[Any, ...]) -> list[tuple[Any, Node]]:
    """Return a mapping's values by their keys, each of which must be a text and occur only once."""
    lines: dict[str, int] = {}
    for name, _ in node.value:
        line = name.start_mark.line + 1
        _as_of_yaml_1_2(name)
        if not isinstance(name, ScalarNode) or name.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            shown = quoted(name.value)[1:-1] if isinstance(name, ScalarNode) else f"a {name.id}"
            raise UserError(
                f"{dotted(path) or 'the file'} has the key {shown or 'null'} at line {line}; give a text, in quotes"
            )
        if name.value in lines:
            where = f"at line {line}" if line == lines[name.value] else f"at lines {lines[name.value]} and {line}"
            raise UserError(f"{dotted((*path, name.value))} is written twice, {where}; remove one of them")
        lines[name.value] = line
    return [(name.value, value) for name, value in node.value]


def _as_of_yaml_1_2(node: Node) -> None:
    if node.tag in _TEXTS_SINCE:
        node.tag = f"{_TAG}str"


def _tagged(node: Node, key: str) -> UserError:
    tag, line = quoted(str(node.tag).replace(_TAG, "!!"))[1:-1], node.start_mark.line + 1
    return UserError(f"{key} has the tag {tag} at line {line}; write the value without it")


class _Dumper(yaml.SafeDumper):
    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Quote texts that YAML 1.2 would read as something else, such as 1e5; PyYAML does that for 1.1."""
        is_text = _RESOLVER.resolve(ScalarNode, text, (True, False)) == f"{_TAG}str"
        return self.represent_scalar(f"{_TAG}str", text, style=None if is_text else "'")


_Dumper.add_representer(str, _Dumper.represent_text)


def _decoded(content: bytes, source: str) -> str:
    for mark, name in _MARKS_OF_UTF:
        if content.startswith(mark):
            raise UserError(f"{source} is in {name}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise UserError(
            f"{source} is not valid YAML at line {line}, where byte 0x{byte:02x} is no UTF-8; save it as UTF-8"
        ) from None


def _complaint(error: Exception, text: str, source: str) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or ""
    line = f" at line {mark.line + 1}" if mark else ""
    if hasattr(error, "position"):
        character = text[error.position]
        line = f" at line {text.count(chr(10), 0, error.position) + 1}"
        utf = "; is it UTF-16? Save it as UTF-8" if text.count("\0") > len(text) / 3 else "; remove it"
        return f"{source} has the character U+{ord(character):04X}{line}{utf}"
    if isinstance(error, RecursionError) or "max_depth" in problem:
        return f"{source} nests deeper than {_DEEPEST} levels{line}; write less"
    if problem == "but found another document":
        return f"{source} begins a second document{line}; keep one of them"
    if r"'\t'" in problem:
        return f"{source} is not valid YAML{line}, which has a tab; correct it, and indent with spaces only"
    why = f" ({' '.join(problem.split())})" if problem else ""
    return f"{source} is not valid YAML{line}; correct it, and indent with spaces only{why}"
