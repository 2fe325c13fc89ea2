"""What the data are read from: nothing for official files, digests for any others."""

import gzip
import hashlib
from importlib import metadata

import pytest
import torchvision

from truehessian.data.catalogue import Origin, origin

NOTHING = Origin({}, {})
FILES = [
    f"{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Files as torchvision unpacks them beside their archives, of which it knows the digests."""
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    resources = []
    for name in FILES:
        content = name.encode() * 100
        (folder / name).write_bytes(content)
        packed = gzip.compress(content)
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    return folder


def found(raw):
    return origin({"name": "mnist", "root": str(raw.parents[1])})


def test_the_digits_come_with_a_package():
    assert origin({"name": "digits"}) == Origin(
        {}, {"scikit-learn": metadata.version("scikit-learn")}
    )


def test_official_files_are_the_same_before_and_after_they_are_downloaded(raw):
    assert found(raw) == NOTHING
    (raw / FILES[0]).unlink()
    assert found(raw) == NOTHING, "one that is missing makes torchvision unpack all of them"
    assert found(raw / "elsewhere/there") == NOTHING


@pytest.mark.parametrize("name", FILES)
def test_a_replaced_file_counts_by_its_content(raw, name):
    digests = []
    for content in (b"one", b"two"):
        (raw / name).write_bytes(content)
        assert set(found(raw).files) == {name}
        digests.append(found(raw).files[name])
    assert digests[0] != digests[1]


def test_a_file_of_the_same_length_is_no_official_one(raw):
    content = (raw / FILES[0]).read_bytes()
    (raw / FILES[0]).write_bytes(content[:-1] + b"?")
    assert set(found(raw).files) == {FILES[0]}


def test_an_archive_is_believed_only_by_its_official_digest(raw):
    (raw / FILES[0]).write_bytes(b"own")
    (raw / f"{FILES[0]}.gz").write_bytes(gzip.compress(b"own"))
    (raw / f"{FILES[1]}.gz").unlink()
    assert set(found(raw).files) == {FILES[0], FILES[1]}


def test_files_of_an_old_torchvision_are_what_it_reads(raw):
    processed = raw.parent / "processed"
    processed.mkdir()
    (processed / "training.pt").write_bytes(b"1")
    assert found(raw) == NOTHING
    (processed / "test.pt").write_bytes(b"2")
    assert set(found(raw).files) == {"training.pt", "test.pt"}
