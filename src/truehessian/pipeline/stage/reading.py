"""What one Python file means, and what it imports, read off its syntax tree.

To take a tree apart takes long, so what was read of a content is remembered.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from truehessian.pipeline.stage import memory

# Calls that import or run files. Where their argument is computed, the tree does not say which.
_BY_NAME = frozenset({"import_module", "__import__"})
_BY_PATH = frozenset(
    {"exec", "run_path", "run_module", "spec_from_file_location", "SourceFileLoader"}
    | {"iter_modules", "walk_packages"}
)


class Import(NamedTuple):
    """One import as it is written.

    Attributes
    ----------
    level
        Number of leading dots; 0 for an absolute import.
    module
        The dotted name behind the dots, empty in ``from . import layers``.
    names
        What is taken from the module, modules or not; ``*`` for everything.
    """

    level: int
    module: str
    names: tuple[str, ...] = ()

    def absolute(self, package: str) -> str:
        """Name of the module, in a module of this package; empty where there is none."""
        if self.level == 0:
            return self.module
        parts = package.split(".")
        above = parts[: len(parts) - self.level + 1]
        return ".".join([*above, self.module]).strip(".") if any(above) else ""

    def candidates(self, package: str) -> Iterator[str]:
        """Names of all modules that it imports, and of what it takes that may be a module."""
        module = self.absolute(package)
        if module:
            yield module
            yield from (f"{module}.{name}" for name in self.names if name != "*")


class Reading(NamedTuple):
    """What is wanted of one version of a file.

    Attributes
    ----------
    meaning
        SHA-256 of the source without comments, docstrings and formatting.
    effect
        The same without log lines and words of errors too: for code of the project alone, whose log
        lines have no effects. A user's own counts in full.
    imports
        All imports, those inside functions too.
    exports
        The names in ``__all__`` where they are written out; empty without one, None where they are
        computed.
    computed
        Whether something is imported or run by a name that the program works out.
    """

    meaning: str
    effect: str
    imports: tuple[Import, ...]
    exports: tuple[str, ...] | None
    computed: bool


_MOST = 4000  # readings that are kept, some kilobytes each
_all: dict[str, Reading] = {}
_used: set[str] = set()  # by this process
_kept: set[str] = set()


def read(path: Path) -> Reading:
    """Read a file of Python source.

    Raises
    ------
    SyntaxError
        It is not Python, or not of this version.
    """
    return _reading(path, path.stat().st_mtime_ns)


def keep() -> None:
    """Remember for later processes what this one has read."""
    if not _used <= _kept:
        known = _recalled() | {digest: _all[digest] for digest in _used}
        if len(known) > _MOST:
            known = {digest: _all[digest] for digest in _used}
        memory.remember(_form(), known)
        _kept.update(known)


@cache  # most modules are reached by many scripts
def _reading(path: Path, _version: int) -> Reading:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if not _all:
        _all.update(_recalled())
        _kept.update(_all)
    if digest not in _all:
        _all[digest] = _parsed(content, str(path))
    _used.add(digest)
    return _all[digest]


def _recalled() -> dict[str, Reading]:
    return {
        digest: _from_plain(*values) for digest, values in (memory.recall(_form()) or {}).items()
    }


@cache
def _form() -> dict[str, Any]:
    """Say what decides readings beside the contents of files: this file, and the grammar."""
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return {"readings of files by": own, "python": list(sys.version_info[:2])}


def _from_plain(
    meaning: str, effect: str, imports: list[Any], exports: list[str] | None, computed: bool
) -> Reading:
    found = tuple(Import(level, module, tuple(names)) for level, module, names in imports)
    return Reading(meaning, effect, found, None if exports is None else tuple(exports), computed)


def _parsed(content: bytes, name: str) -> Reading:
    # Bytes, because a file may declare an encoding of its own.
    tree = ast.parse(content, filename=name)
    imports, computed = _imports(tree)
    exports = _exports(tree)
    _take_docstrings_off(tree)
    # The unparsed source is the same on all Python versions, a dump of the tree is not.
    meaning = ast.unparse(tree)
    wordless = _WithoutWords().visit(ast.parse(meaning))
    effect = ast.unparse(ast.fix_missing_locations(wordless))
    return Reading(_digest(meaning), _digest(effect), tuple(imports), exports, computed)


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def _take_docstrings_off(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
            node.body = node.body or [ast.Pass()]


class _WithoutWords(ast.NodeTransformer):
    """Take off what a reader of logs and errors sees, and no number depends on.

    Lines of a `logger`, and the strings in what is raised and in warnings. The project keeps to
    this name, and to log lines without effects.
    """

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Go on below a node; a block that has become empty does nothing."""
        super().generic_visit(node)
        if getattr(node, "body", None) == [] and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        """Without logging."""
        node.names = [alias for alias in node.names if alias.name != "logging"]
        return node if node.names else None

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        """Without the module's logger."""
        named = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return None if named == ["logger"] else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Without log lines; warnings without their text."""
        if isinstance(node.value, ast.Call):
            called = ast.unparse(node.value.func)
            if called.startswith("logger."):
                return None
            if called == "warnings.warn":
                return _Wordless().visit(node)
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Without the words of the error."""
        return _Wordless().visit(node)


class _Wordless(ast.NodeTransformer):
    """Empty all strings of an expression."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Empty a string."""
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Empty a string, with all that is put into it."""
        return ast.Constant("")


def _imports(tree: ast.Module) -> tuple[list[Import], bool]:
    """All imports of a file, and whether there are computed ones beside them."""
    imports, computed = [], False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [Import(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            imports.append(Import(node.level, node.module or "", names))
        elif isinstance(node, ast.Call):
            called = _called(node)
            written = _written(node) if called in _BY_NAME else None
            if written is not None:
                imports.append(written)
            computed |= written is None and called in _BY_NAME | _BY_PATH
    return imports, computed


def _called(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None


def _written(call: ast.Call) -> Import | None:
    """Find the import of ``import_module("name")``, None where the name is computed."""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    if not arguments or not isinstance(arguments[0], ast.Constant):
        return None
    name = arguments[0].value
    if not isinstance(name, str):
        return None
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return Import(0, name)
    package = arguments[1] if len(arguments) > 1 else None
    if isinstance(package, ast.Name) and package.id in ("__package__", "__name__"):
        return Import(dots, name[dots:])
    if isinstance(package, ast.Constant) and isinstance(package.value, str):
        return Import(0, Import(dots, name[dots:]).absolute(package.value))
    return None


def _exports(tree: ast.Module) -> tuple[str, ...] | None:
    exports: list[str] = []
    for value in _assigned(tree, "__all__"):
        try:
            exports += map(str, ast.literal_eval(value))
        except (ValueError, TypeError):
            return None
    return tuple(exports)


def _assigned(tree: ast.Module, name: str) -> Iterator[ast.expr]:
    """All values that a name gets or is extended by, on the level of the module."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AugAssign | ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            yield value
