"""Archives of results: whole entries arrive, and nothing else does, whatever an archive holds."""

import gzip
import io
import json
import lzma
import os
import random
import tarfile
import time
from pathlib import Path

import pytest

from truehessian.pipeline import cli
from truehessian.pipeline.stage import archive, key as keys, maintenance, store

CONTENT = b"spectrum" * 100


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "store"))


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """An archive of two results, and an empty store to import it into; returns its path."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "cluster"))
    for seed in (1, 2):
        (tmp_path / "file").write_bytes(CONTENT)
        key = keys.make("measure", {"a": "1"}, {"settings": {"seed": seed}}, {}, {})
        store.save(key, {"spectrum": tmp_path / "file"})
    archive.export(tmp_path / "results.tar")
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "store"))
    return tmp_path / "results.tar"


def members(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as file:
        return [
            (item, file.extractfile(item).read() if item.isreg() else b"")
            for item in file.getmembers()
        ]


def write(path: Path, items: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(path, "w") as file:
        for item, content in items:
            item.size = len(content) if item.isreg() else 0
            file.addfile(item, io.BytesIO(content))


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.linkname = kind, target
    return item


def victim(path: Path) -> str:
    """Key of the first entry in an archive."""
    return min(item.name.split("/")[0] for item, _ in members(path))


def in_store(tmp_path: Path) -> set[str]:
    """Everything that lies in the store, and beside it, but for the fixture's own."""
    found = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    return {
        path.as_posix()
        for path in found
        if path.parts[0] not in ("cluster", "file", "results.tar") and path.name != "store"
    }


def whole(tmp_path: Path, key: str) -> set[str]:
    folder = f"store/objects/{key[:2]}"
    files = {f"{folder}/{key}/{name}" for name in ("spectrum", "manifest.json")}
    return {"store/objects", folder, f"{folder}/{key}", *files}


def test_what_was_packed_arrives_and_a_second_time_there_is_nothing_new(packed, tmp_path):
    assert archive.import_archive(packed) == (2, [])
    assert [entry.manifest["parts"]["stage"] for entry in store.entries()] == ["measure"] * 2
    assert maintenance.verify() == []
    assert archive.import_archive(packed) == (0, [])
    items = members(packed)
    damaged(victim(packed), items)
    write(packed, items)
    assert archive.import_archive(packed) == (0, []), "what is there already is not unpacked"


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_an_archive_may_be_compressed_and_packed_anew(packed, tmp_path, suffix):
    items = members(packed)
    for item, _ in items:
        item.name = f"./{item.name}"
    with tarfile.open(tmp_path / f"other{suffix}", f"w:{suffix[1:]}") as file:
        file.addfile(named(".", tarfile.DIRTYPE))
        for item, content in items:
            file.addfile(item, io.BytesIO(content))
    assert archive.import_archive(tmp_path / f"other{suffix}") == (2, [])


def manifest_with(change):
    """Change the first entry's manifest, a mapping; what the change returns is written."""

    def act(key, items):
        for number, (item, content) in enumerate(items):
            if item.name == f"{key}/manifest.json":
                changed = change(json.loads(content))
                text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
                items[number] = (item, text)

    return act


def put(**values):
    return manifest_with(lambda manifest: {**manifest, **values})


def other_part(manifest):
    manifest["parts"]["settings"]["settings"]["seed"] = 3
    return manifest


def output(**values):
    return manifest_with(
        lambda manifest: {
            **manifest,
            "outputs": {"spectrum": {**manifest["outputs"]["spectrum"], **values}},
        }
    )


def nested(depth: int):
    return {"stage": "measure", "settings": json.loads('{"a":' * depth + "1" + "}" * depth)}


def added(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b"evil"):
    def act(key, items):
        items.append((named(name.format(key=key), kind, target.format(key=key)), content))

    return act


def without(name: str):
    def act(key, items):
        items[:] = [(item, content) for item, content in items if item.name != f"{key}/{name}"]

    return act


def instead(kind: bytes, target: str):
    """A link where the spectrum should be."""

    def act(key, items):
        without("spectrum")(key, items)
        items.append((named(f"{key}/spectrum", kind, target.format(key=key)), b""))

    return act


def damaged(key, items):
    for number, (item, content) in enumerate(items):
        if item.name == f"{key}/spectrum":
            items[number] = (item, b"S" + content[1:])


def renamed(key, items):
    for item, _ in items:
        item.name = item.name.replace(key, key[::-1])


def renamed_with_its_manifest(key, items):
    put(key=key[::-1])(key, items)
    renamed(key, items)


REFUSED = {
    "other contents": (damaged, "spectrum has changed"),
    "a file short": (without("spectrum"), "spectrum is missing"),
    "no manifest": (without("manifest.json"), "manifest is missing or damaged"),
    "no JSON": (manifest_with(lambda _: b"{"), "manifest is missing or damaged"),
    "no UTF-8": (manifest_with(lambda _: b"\xff\xfe"), "manifest is missing or damaged"),
    "deep JSON": (manifest_with(lambda _: b"[" * 10**5), "manifest is missing or damaged"),
    "long JSON": (
        manifest_with(lambda manifest: json.dumps(manifest).encode() + b" " * 2**25),
        "manifest is missing or damaged",
    ),
    "null": (manifest_with(lambda _: None), "manifest is missing or damaged"),
    "a list": (manifest_with(lambda _: []), "manifest is missing or damaged"),
    "an unknown section": (put(more=1), "manifest is missing or damaged"),
    "parts of no kind": (put(parts=[]), "manifest is missing or damaged"),
    "parts of no stage": (put(parts={"stage": 3}), "manifest is missing or damaged"),
    "deep parts": (put(parts=nested(100)), "manifest is missing or damaged"),
    "outputs of no kind": (put(outputs=["spectrum"]), "manifest is missing or damaged"),
    "an output of no kind": (put(outputs={"spectrum": "x"}), "manifest is missing or damaged"),
    "a size of no kind": (output(size="8"), "manifest is missing or damaged"),
    "a negative size": (output(size=-1), "manifest is missing or damaged"),
    "another size": (output(size=10**15), "spectrum has changed"),
    "a digest of no kind": (output(sha256=None), "manifest is missing or damaged"),
    "another digest": (output(sha256="0" * 64), "spectrum has changed"),
    "an output elsewhere": (
        put(outputs={"../x": {"sha256": "0", "size": 0}}),
        "manifest is missing or damaged",
    ),
    "another key": (put(key="0" * 64), "manifest is missing or damaged"),
    "parts of another result": (manifest_with(other_part), "key is not that of what it says"),
    "the name of another result": (renamed, "manifest is missing or damaged"),
    "a name and key of another": (renamed_with_its_manifest, "key is not that of what it says"),
    "one file more": (added("{key}/more"), "more is not in its manifest"),
    "a hidden file": (added("{key}/.more"), "does not lie where"),
    "a file below": (added("{key}/below/more"), "does not lie where"),
    "a file above": (added("{key}/../evil"), "does not lie where"),
    "a file twice": (added("{key}/spectrum"), "is there twice"),
    "a key that is a file": (added("{key}"), "does not lie where"),
    "a folder below": (added("{key}/below", tarfile.DIRTYPE), "is not a plain file"),
    "a symbolic link": (instead(tarfile.SYMTYPE, "/etc/passwd"), "is not a plain file"),
    "a link to the other": (instead(tarfile.LNKTYPE, "{key}/manifest.json"), "not a plain file"),
    "a folder that is a link": (added("{key}", tarfile.SYMTYPE, "/tmp"), "is not a plain file"),
    "a device": (instead(tarfile.CHRTYPE, ""), "is not a plain file"),
    "a pipe": (instead(tarfile.FIFOTYPE, ""), "is not a plain file"),
    "a sparse file": (instead(tarfile.GNUTYPE_SPARSE, ""), "is not a plain file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_entry_is_refused_in_a_sentence_and_the_others_are_taken(
    packed, tmp_path, name
):
    change, reason = REFUSED[name]
    key = victim(packed)
    (other,) = {item.name.split("/")[0] for item, _ in members(packed)} - {key}
    items = members(packed)
    change(key, items)
    write(packed, items)
    taken, (sentence,) = archive.import_archive(packed)
    assert taken == 1
    assert reason in sentence
    assert "\n" not in sentence
    assert in_store(tmp_path) == whole(tmp_path, other)


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "evil/file", "a/../../evil", "\x1b[31m" + "x" * 500, "{key}x/y"]
)
def test_what_is_no_entry_is_refused_in_a_sentence_and_the_entries_are_taken(
    packed, tmp_path, name
):
    items = members(packed)
    added(name)(victim(packed), items)
    write(packed, items)
    taken, (sentence,) = archive.import_archive(packed)
    assert taken == 2
    assert "its name is not the key of a result" in sentence
    assert "\x1b" not in sentence
    assert len(sentence) < 200
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/evil").exists()


def cut(part: float):
    return lambda content: content[: int(len(content) * part)]


def header_damaged(content: bytes) -> bytes:
    """In the middle, where Python takes it for the end."""
    middle = content.index(b"ustar", len(content) // 3)
    return content[:middle] + b"?" + content[middle + 1 :]


def without_end(content: bytes) -> bytes:
    return content.rstrip(b"\0") + bytes(-len(content.rstrip(b"\0")) % 512)


def huge(content: bytes) -> bytes:
    """Its last member says that it is larger than the archive."""
    file = io.BytesIO(content)
    with tarfile.open(fileobj=file) as tar:
        last = tar.getmembers()[-1]
    last.size = 10**15
    header = last.tobuf(tarfile.GNU_FORMAT)
    return content[: last.offset] + header + content[last.offset_data :]


UNREADABLE = {
    "empty": lambda content: b"",
    "text": lambda content: b"not an archive\n" * 100,
    "zeros": lambda content: bytes(10240),
    "begun": cut(0.01),
    "half": cut(0.5),
    "without its end": without_end,
    "damaged in the middle": header_damaged,
    "huge": huge,
    "half of a compressed one": lambda content: gzip.compress(content)[:-100],
    "damaged compressed one": lambda content: gzip.compress(content)[:200] + bytes(2000),
    "compressed otherwise and damaged far behind": lambda content: damaged_far_behind(),
    "of something else": lambda content: tar_of("notes.txt", b"text"),
}


def tar_of(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        item = named(name)
        item.size = len(content)
        tar.addfile(item, io.BytesIO(content))
    return file.getvalue()


def damaged_far_behind() -> bytes:
    packed = bytearray(lzma.compress(tar_of("0" * 64, random.Random(0).randbytes(2**18))))
    packed[-9000:-8000] = bytes(1000)
    return bytes(packed)


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_whole_archive_is_one_sentence_and_nothing_is_taken(
    packed, tmp_path, capsys, name
):
    packed.write_bytes(UNREADABLE[name](packed.read_bytes()))
    assert cli.main(["cache", "import", str(packed)]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"truehessian: {packed} ")
    assert sentence.endswith(
        ("is not a whole archive; export again", "holds no results of truehessian")
    )
    assert in_store(tmp_path) == set()


def test_more_than_there_is_room_for_is_refused_before_anything_is_written(
    packed, tmp_path, monkeypatch
):
    usage = archive.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: usage._replace(free=2000))
    with pytest.raises(OSError, match=r"holds [\d,]+ bytes, but only 2,000 are free in"):
        archive.import_archive(packed)
    assert in_store(tmp_path) == set()


def test_any_flipped_bytes_give_whole_entries_or_sentences(packed, tmp_path):
    """Random damage anywhere: no other exception, and nothing in the store that is not whole."""
    content = packed.read_bytes()
    draw = random.Random(0)
    for _ in range(200):
        changed = bytearray(content)
        for position in draw.sample(range(len(content)), 3):
            changed[position] = draw.randrange(256)
        packed.write_bytes(changed)
        try:
            archive.import_archive(packed)
        except ValueError as error:
            assert "whole archive" in str(error) or "no results" in str(error)  # noqa: PT017
    assert maintenance.verify() == []
    assert all(path.name == "objects" for path in (tmp_path / "store").iterdir())


def test_what_a_killed_import_has_left_goes_with_the_next(packed, tmp_path):
    for name, age in ((".import-old", 2 * store.ABANDONED), (".import-new", 0.0)):
        (tmp_path / "store" / name).mkdir(parents=True)
        os.utime(tmp_path / "store" / name, (time.time() - age,) * 2)
    archive.import_archive(packed)
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"objects", ".import-new"}
