"""The order of the rooms, and what is to be read off the source against it."""

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PACKAGE = "truehessian"
SOURCE = Path(__file__).parents[1] / "src"

# A module imports from its own room and from those to the left of it.
ROOMS = (
    "data",
    "networks",
    "operators",
    "spectra",
    "theory",
    "measurements",
    "report",
    "pipeline",
)
# Modules beside the rooms, which import from no room.
GROUND = ("devices", "display", "registry", "streams", "tensorfile", "text")
# What works where there is no PyTorch: these modules, and all in folders of these names.
WITHOUT_TORCH = (
    "display",
    "registry",
    "streams",
    "text",
    "data.about",
    "data.catalogue",
    "data.sources.describing",
    "data.sources.factory",
    "data.sources.tensors",
    "networks.libraries.library",
    "spectra.density",
    "spectra.kernel",
    "spectra.separation",
    "spectra.smoothing",
    "spectra.spectrum",
    "spectra.stacks",
    "theory",
    "measurements.costs",
    "report",
    "pipeline.cli",
    "pipeline.config",
    "pipeline.stage",
)
MOST_LINES = 300  # of a module
MOST_LINES_OF_CODE = 40  # of a function


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """All modules of the package by their names without that of the package; "" is its own."""
    found = {}
    for path in sorted((source / PACKAGE).rglob("*.py")):
        parts = path.relative_to(source / PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """Modules of the package that each one imports, those inside functions too.

    A name that a package gives lazily, by its stub, counts as the module that it comes from.
    """
    lazy = {name: _stub(path) for name, path in known.items() if path.name == "__init__.py"}
    return {
        name: {_home(target, known, lazy) for target in _targets(path)} - {name}
        for name, path in known.items()
    }


def _targets(path: Path) -> Iterator[str]:
    """Dotted names below the package that a file imports when it runs, as they are written."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in node.body
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            raise ValueError(f"{path}:{node.lineno}: relative imports are not used here")
        else:
            continue
        prefix = f"{PACKAGE}."
        yield from (name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _stub(path: Path) -> dict[str, str]:
    """Where the lazy names of a package come from, relative to it."""
    stub = path.with_suffix(".pyi")
    if not stub.exists():
        return {}
    nodes = ast.parse(stub.read_text(encoding="utf-8")).body
    return {
        alias.name: f".{node.module or alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _home(target: str, known: Mapping[str, Path], lazy: Mapping[str, dict[str, str]]) -> str:
    """The module that an imported name is, or is from."""
    if target in known:
        return target
    package, _, name = target.rpartition(".")
    if package in known:
        inner = lazy.get(package, {}).get(name, "")
        return f"{package}{inner}".strip(".")
    return _home(package, known, lazy) if package else ""


def room_of(module: str) -> str:
    return module.partition(".")[0]


def wrong_imports(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Sentences on imports that go to the right, or from the ground floor into a room."""
    places = dict.fromkeys(GROUND, -1) | {name: i for i, name in enumerate(ROOMS)} | {"": -1}
    wrong = []
    for module, targets in graph.items():
        for target in sorted(targets):
            here, there = room_of(module), room_of(target)
            if not {here, there} <= places.keys():
                wrong.append(f"{module} or {target} is in no room")
            elif places[there] > places[here] and module:
                wrong.append(f"{module} ({here}) imports {target} ({there})")
    return wrong


def cycles(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Chains of modules that import each other, one for each module that closes one."""
    found: list[str] = []
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]) -> None:
        if module in chain:
            found.append(" -> ".join([*chain[chain.index(module) :], module]))
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                visit(target, (*chain, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    return found


def long_modules(paths: Iterable[Path]) -> list[str]:
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    return [f"{path}: {count} lines" for path, count in counts.items() if count > MOST_LINES]


def long_functions(paths: Iterable[Path]) -> list[str]:
    return [
        f"{path}: {function.name} has {count} lines of code"
        for path in paths
        for function, count in functions(path.read_text(encoding="utf-8"))
        if count > MOST_LINES_OF_CODE
    ]


def functions(text: str) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """All functions of a source, with their lines without docstrings, comments and blanks."""
    coded = _lines_of_code(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, len(coded & set(range(node.lineno, node.end_lineno + 1)))


def _lines_of_code(text: str) -> set[int]:
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in nothing
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            first = body[0]
            if isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                lines -= set(range(first.lineno, first.end_lineno + 1))
    return lines
