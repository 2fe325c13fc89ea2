"""The command `truehessian`: a configuration for one's own problem, and the store of results."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import humanfriendly
from tabulate import tabulate

from truehessian import text
from truehessian.pipeline.init import flags
from truehessian.pipeline.stage import archive, maintenance, store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error, which is one sentence on the standard error.
    """
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed) or 0)
    except (OSError, ValueError) as error:
        print(f"truehessian: {error}", file=sys.stderr)
        return 1


def size_in_bytes(size: str) -> int:
    """Read a size such as `500M`, `20GB` or `0`, in powers of ten.

    Raises
    ------
    ValueError
        The text is not a size.
    """
    try:
        return humanfriendly.parse_size(size)
    except humanfriendly.InvalidSize:
        raise ValueError(f"a size is a number with K, M, G or T behind it, got {size!r}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="truehessian", description=__doc__)
    groups = parser.add_subparsers(required=True, metavar="command")
    first = groups.add_parser(
        "init", help="a configuration for one's own network, weights, data and loss"
    )
    flags.add_to(first)
    first.set_defaults(run=_init)
    groups.add_parser("schema", help="the JSON schema of configurations, for editors").set_defaults(
        run=_schema
    )
    cache = groups.add_parser(
        "cache", help=f"the store of results ({store.VARIABLE}, or the user's cache folder)"
    )
    commands = cache.add_subparsers(required=True)

    def add(name: str, run: object, help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text)
        command.set_defaults(run=run)
        return command

    add("list", _list, "all stored results, last used first")
    add("size", _size, "how much there is, and where")
    command = add("prune", _prune, "remove what was used longest ago, or what nothing uses")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--max-size", help="what may stay, such as 20G")
    what.add_argument("--old", action="store_true", help="results of earlier versions")
    command = add("verify", _verify, "compare all files with their digests")
    command.add_argument("--drop", action="store_true", help="remove damaged results")
    command = add("explain", _explain, "what a result differs in from the nearest stored one")
    command.add_argument("path", type=Path)
    command = add("export", _export, "write all results into one archive")
    command.add_argument("archive", type=Path)
    command = add("import", _import, "take over the results of an archive")
    command.add_argument("archive", type=Path)
    return parser


def _init(arguments: argparse.Namespace) -> None:
    from truehessian.pipeline.init import command
    from truehessian.pipeline.init.talk import Talk

    command.run(flags.Wishes.of(arguments), Talk())


def _schema(_: argparse.Namespace) -> None:
    from truehessian.pipeline.config import schema

    print(schema.text(), end="")


def _list(_: argparse.Namespace) -> None:
    entries = sorted(store.entries(), key=lambda entry: entry.last_used, reverse=True)
    rows = [
        (
            entry.key[:12],
            entry.manifest["parts"]["stage"],
            text.size(entry.size),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used)),
        )
        for entry in entries
    ]
    print(tabulate(rows, headers=["key", "stage", "size", "last used"]))


def _size(_: argparse.Namespace) -> None:
    entries = list(store.entries())
    total = sum(entry.size for entry in entries)
    states, old = maintenance.unfinished(), maintenance.of_earlier_versions()
    print(f"{text.size(total)} in {len(entries)} results under {store.root()}")
    if old:
        size = text.size(sum(entry.size for entry in old))
        print(
            f"{size} of it in {len(old)} results of an earlier version, which nothing uses; "
            "`truehessian cache prune --old` removes them"
        )
    if states:
        size = text.size(sum(state.size for state in states))
        print(f"{size} in resume states of {len(states)} unfinished stages")


def _prune(arguments: argparse.Namespace) -> None:
    removed = (
        [*maintenance.prune_earlier_versions()]
        if arguments.old
        else maintenance.prune(size_in_bytes(arguments.max_size))
    )
    results = sum(isinstance(item, store.Entry) for item in removed)
    print(
        f"removed {results} results and {len(removed) - results} resume states, "
        f"{text.size(sum(item.size for item in removed))}"
    )


def _verify(arguments: argparse.Namespace) -> int:
    damaged = maintenance.verify(drop=arguments.drop)
    for entry, problem in damaged:
        print(f"{entry.key[:12]} {entry.manifest['parts']['stage']}: {problem}")
    print(f"{len(damaged)} damaged results" + (", removed" if arguments.drop and damaged else ""))
    return 1 if damaged and not arguments.drop else 0


def _explain(arguments: argparse.Namespace) -> None:
    entry = maintenance.made_by(arguments.path)
    if entry is None:
        raise ValueError(f"{arguments.path} is not the output of any stored result")
    parts = entry.manifest["parts"]
    print(f"{arguments.path} is an output of {parts['stage']}, key {entry.key[:12]}")
    found = maintenance.nearest(parts, besides=entry.key)
    if found is None:
        print("no other result of this stage is stored")
        return
    other, changes = found
    print(f"it differs from the nearest other result, key {other.key[:12]}, in:")
    for change in changes:
        print(f"  {change}")


def _export(arguments: argparse.Namespace) -> None:
    print(f"exported {archive.export(arguments.archive)} results to {arguments.archive}")


def _import(arguments: argparse.Namespace) -> int:
    taken, refused = archive.import_archive(arguments.archive)
    for sentence in refused:
        print(sentence, file=sys.stderr)
    print(f"imported {taken} results, {len(refused)} damaged ones refused")
    return 1 if refused else 0
