"""Data sets: contents of the real files where they are at hand, downloads from a local server."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import lzma
import os
import re
import socket
import string
import struct
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from cl_lib import data, downloads
from cl_lib.data import Split, load

REAL = os.environ.get("CL_LIB_DATA")  # read before the tests hide it
IDX = downloads.SOURCES["mnist"].files
RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, (10, 28, 28)).astype(np.uint8)  # 6 to train, 4 to test
LABELS = np.arange(10, dtype=np.uint8)
RECORDS = RANDOM.randint(0, 10, (12, 3073)).astype(np.uint8)  # 2 in each file of CIFAR-10


# Small files in the original formats, and a server that offers them


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes())


def idx_files(names, first_label=0):
    labels = LABELS + first_label
    arrays = (IMAGES[:6], labels[:6], IMAGES[6:], labels[6:])
    return dict(zip(names, map(idx, arrays), strict=True))


def cifar_files():
    names = downloads.SOURCES["cifar-10"].files
    return {name: RECORDS[2 * i : 2 * i + 2].tobytes() for i, name in enumerate(names)}


def zipped(files, prefix=""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
    return buffer.getvalue()


def tarred(files, prefix=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.offered.get(self.path)
        self.send_response(200 if content is not None else 404)
        content = content or b""
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        short = self.path in self.server.cut
        self.wfile.write(content[: len(content) // 2] if short else content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.offered, running.cut, running.requests = {}, set(), []
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Leave no test a way to the user's folders, or out of this machine."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "CL_LIB_DATA"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "cache"
    monkeypatch.setenv("CL_LIB_CACHE", str(folder))
    for name, source in downloads.SOURCES.items():
        offline = dataclasses.replace(source, addresses=())
        monkeypatch.setitem(downloads.SOURCES, name, offline)
    return folder


@pytest.fixture
def offer(monkeypatch, server):
    """Return a function that makes small files the expected ones, and serves them."""

    def serve(name, files, addresses=("/good/",), archive=b""):
        source = dataclasses.replace(
            downloads.SOURCES[name],
            addresses=tuple(server.url + address for address in addresses),
            digests=" ".join(map(sha256, files.values())),
            archive_hash="sha256:" + sha256(archive),
            validation=2,
        )
        monkeypatch.setitem(downloads.SOURCES, name, source)
        served = {source.archive: archive} if archive else files
        server.offered.update({"/good/" + file: content for file, content in served.items()})
        return source

    return serve


def stored(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def assert_is_small_mnist(dataset):
    flat = IMAGES.reshape(10, 784)
    for split, chosen in (
        (dataset.train, slice(0, 4)),
        (dataset.validation, slice(4, 6)),
        (dataset.test, slice(6, 10)),
    ):
        assert np.array_equal(split.x, flat[chosen])
        assert split.y.tolist() == LABELS[chosen].tolist()


# Split


X, Y = torch.zeros(3, 2), torch.tensor([0, 1, 2])


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X.numpy(), Y, TypeError, "x is a ndarray, not a tensor; use torch.as_tensor(x)."),
        (X, [0, 1, 2], TypeError, "y is a list, not a tensor; use torch.as_tensor(y)."),
        (X.long(), Y, TypeError, "x is torch.int64, but must be uint8 or floating point"),
        (X.bool(), Y, TypeError, "x is torch.bool, but must be uint8 or floating point"),
        (X, Y.int(), TypeError, "y is torch.int32, but class indices must be int64; use y.long()."),
        (X, Y.float(), TypeError, "y is torch.float32, but class indices must be int64"),
        (X[:, 0], Y, ValueError, "x has shape (3,), but must be (N, features...)"),
        (X, Y[:, None], ValueError, "y has shape (3, 1), but must be (N,); use y.flatten()"),
        (X, Y[:2], ValueError, "x has 3 examples, but y 2 labels; make them equal."),
        (X[:0], Y[:0], ValueError, "x is empty, shape (0, 2); give at least one example."),
        (X[:, :0], Y, ValueError, "x is empty, shape (3, 0)"),
        (X, Y - 1, ValueError, "y holds the label -1; number the classes from 0."),
        (X / 0, Y, ValueError, "x holds 6 values that are NaN or infinite"),
        (torch.tensor([[0.0, torch.inf]]), Y[:1], ValueError, "x holds 1 values that are NaN or"),
    ],
)
def test_split_refuses(x, y, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Split(x, y)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_split_keeps_what_it_is_given(dtype):
    split = Split(X.to(dtype), Y)
    assert split.x.dtype == dtype and split.y is Y and len(split) == 3
    assert repr(split) == f"Split(x: {dtype} (3, 2), y: (3,))"
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.x = X


# Names, digits


def test_names():
    assert data.DATASETS == ("digits", "mnist", "fashion-mnist", "emnist-letters", "cifar-10")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MNIST", "; did you mean 'mnist'?"),
        ("cifar10", "; did you mean 'cifar-10'?"),
        ("fashion_mnist", "; did you mean 'fashion-mnist'?"),
        ("zzz", "emnist-letters, cifar-10."),
        (7, "emnist-letters, cifar-10."),
    ],
)
def test_unknown_name(name, hint):
    message = f"name is {name!r}, but must be one of digits, mnist, "
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(name)
    assert str(caught.value).endswith(hint)


def test_digits():
    sklearn_digits = pytest.importorskip("sklearn.datasets").load_digits()
    dataset = load("digits", folder="/nowhere")  # needs no files
    splits = (dataset.train, dataset.validation, dataset.test)
    assert [len(split) for split in splits] == [1253, 180, 364]
    assert dataset.name == "digits" and dataset.classes == tuple("0123456789")
    x, y = torch.cat([s.x for s in splits]), torch.cat([s.y for s in splits])
    assert x.dtype == torch.uint8 and x.shape == (1797, 64) and y.dtype == torch.int64
    parts = data._stratified(sklearn_digits.target)
    order = np.concatenate(parts)
    assert sorted(order) == list(range(1797))
    assert np.array_equal(x, sklearn_digits.data[order].astype(int) * 255 // 16)
    assert np.array_equal(y, sklearn_digits.target[order])
    assert x.max() == 255 and x.min() == 0
    for split, share in zip(splits, (0.7, 0.1, 0.2), strict=True):
        counts = torch.bincount(split.y) / torch.bincount(y)
        assert (counts - share).abs().max() < 0.012


def test_split_of_digits_never_changes():
    labels = pytest.importorskip("sklearn.datasets").load_digits().target
    indices = np.concatenate(data._stratified(labels)).astype("<i8")
    expected = "b2e66650a891a9a1193543e15b6ed8987f0b9adf00174c32c3e77b3900427c63"
    assert sha256(indices.tobytes()) == expected


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_digests_may_be_changed_by_who_asked_for_them(name):
    found = data.digests(name)
    expected = dict(found)
    found.clear()
    assert data.digests(name) == expected != {}


def test_the_digest_of_digits_is_that_of_its_training_images():
    pixels = sha256(load("digits").train.x.numpy().tobytes())
    assert data.digests("digits") == {"pixels": pixels}


# Downloads


def test_download_then_cache(offer, server, cache):
    offer("mnist", idx_files(IDX))
    assert_is_small_mnist(load("mnist"))
    assert stored(cache) == sorted(IDX)
    assert all((cache / "mnist" / file).is_file() for file in IDX)
    assert len(server.requests) == 4
    assert_is_small_mnist(load("mnist"))
    assert len(server.requests) == 4


def test_cached_files_are_as_readable_as_any_other(offer, cache, tmp_path):
    offer("mnist", idx_files(IDX))
    load("mnist")
    (tmp_path / "ordinary").touch()
    ordinary = (tmp_path / "ordinary").stat().st_mode
    assert {(cache / "mnist" / file).stat().st_mode for file in IDX} == {ordinary}


def test_who_starts_together_downloads_once(offer, server, cache):
    offer("mnist", idx_files(IDX))
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(load, ["mnist"] * 4):
            assert_is_small_mnist(found)
    assert len(server.requests) == 4


def test_second_mirror_is_used_when_the_first_is_dead(offer, server, cache):
    offer("mnist", idx_files(IDX), addresses=("/dead/", "/good/"))
    assert_is_small_mnist(load("mnist"))
    assert server.requests[:2] == [f"/dead/{IDX[0]}", f"/good/{IDX[0]}"]


def test_second_mirror_is_used_when_the_first_is_corrupt(offer, server, cache):
    offer("mnist", idx_files(IDX), addresses=("/bad/", "/good/"))
    server.offered.update({f"/bad/{file}": b"not this" for file in IDX})
    assert_is_small_mnist(load("mnist"))
    assert stored(cache) == sorted(IDX)


def test_corrupt_download_is_refused_and_not_kept(offer, server, cache):
    offer("mnist", idx_files(IDX))
    server.offered[f"/good/{IDX[0]}"] = b"not this"
    with pytest.raises(OSError, match=f"cannot get {IDX[0]}") as caught:
        load("mnist")
    assert sha256(b"not this") in str(caught.value)
    assert stored(cache) == []


def test_cut_download_is_refused_and_not_kept(offer, server, cache):
    offer("mnist", idx_files(IDX))
    server.cut.add(f"/good/{IDX[0]}")
    with pytest.raises(OSError, match=f"cannot get {IDX[0]}"):
        load("mnist")
    assert stored(cache) == []


def test_interrupted_download_leaves_no_file(offer, cache, monkeypatch):
    offer("mnist", idx_files(IDX))

    def interrupted(self, url, output_file, pooch):
        Path(output_file).write_bytes(b"the first half")
        [folder] = (cache / "mnist").iterdir()
        assert folder.name.startswith(".download-")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("mnist")
    assert stored(cache) == [] and list((cache / "mnist").iterdir()) == []


def test_what_was_checked_is_what_is_used(offer, cache, monkeypatch):
    offer("mnist", idx_files(IDX))
    monkeypatch.setattr(Path, "replace", lambda path, target: target.write_bytes(b"not this"))
    assert_is_small_mnist(load("mnist"))


def test_what_a_killed_download_left_is_swept_away_after_a_day(offer, cache):
    offer("mnist", idx_files(IDX))
    old, young, other = (cache / "mnist" / name for name in (".download-old", ".download-new", "other"))
    for folder, hours in ((old, 25), (young, 23), (other, 25)):
        put(folder, {"part": b"the first half"})
        past = time.time() - 3600 * hours
        os.utime(folder, (past, past))
    load("mnist")
    assert {path for path in (cache / "mnist").iterdir() if path.is_dir()} == {young, other}


def test_offline(offer, server, cache):
    offer("mnist", idx_files(IDX), addresses=("/dead/", "/gone/"))
    with pytest.raises(OSError) as caught:
        load("mnist")
    message = str(caught.value)
    assert f"{server.url}/dead/{IDX[0]}: 404" in message
    assert f"{server.url}/gone/{IDX[0]}: 404" in message
    assert f"put {', '.join(IDX)} into {cache / 'mnist'}, or set CL_LIB_DATA" in message


def test_nobody_answers(offer, monkeypatch):
    source = offer("mnist", idx_files(IDX))
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setitem(downloads.SOURCES, "mnist", dataclasses.replace(source, addresses=(closed,)))
    with pytest.raises(OSError, match=re.escape(f"{closed}{IDX[0]}: ")):
        load("mnist")


def test_damaged_cache_is_replaced(offer, server, cache):
    offer("mnist", idx_files(IDX))
    put(cache / "mnist", idx_files(IDX) | {IDX[1]: b"damaged"})
    assert_is_small_mnist(load("mnist"))
    assert server.requests == [f"/good/{IDX[1]}"]


def test_damaged_cache_without_network(offer, cache):
    offer("mnist", idx_files(IDX), addresses=("/dead/",))
    put(cache / "mnist", {IDX[0]: b"damaged"})
    message = f"{cache / 'mnist' / IDX[0]} has the SHA-256 {sha256(b'damaged')}"
    with pytest.raises(OSError, match=re.escape(message)):
        load("mnist")


def test_cache_that_cannot_be_made(offer, server, monkeypatch, tmp_path):
    offer("mnist", idx_files(IDX))
    (tmp_path / "file").touch()
    monkeypatch.setenv("CL_LIB_CACHE", str(tmp_path / "file" / "cache"))
    folder = re.escape(str(tmp_path / "file" / "cache" / "mnist"))
    with pytest.raises(OSError, match=f"cannot write to the cache folder {folder} .*CL_LIB_CACHE"):
        load("mnist")
    assert server.requests == []


def test_read_only_cache(offer, server, cache, monkeypatch):
    offer("mnist", idx_files(IDX))
    put(cache / "mnist", {})

    def refused(*args, **kwargs):  # as for any user but root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(downloads.tempfile, "mkdtemp", refused)
    with pytest.raises(OSError, match=re.escape(f"cannot write to the cache folder {cache}")):
        load("mnist")
    assert server.requests == []
    put(cache / "mnist", idx_files(IDX))
    assert_is_small_mnist(load("mnist"))  # reading is all it takes


def test_progress_bar_only_when_wanted(offer, cache, capsys, monkeypatch):
    offer("mnist", idx_files(IDX))
    load("mnist")
    assert "100%" not in capsys.readouterr().err
    for file in IDX:
        (cache / "mnist" / file).unlink()
    load("mnist", progress=True)
    assert "100%" in capsys.readouterr().err
    for file in IDX:
        (cache / "mnist" / file).unlink()
    monkeypatch.setattr(data.sys.stderr, "isatty", lambda: True)
    load("mnist")
    assert "100%" in capsys.readouterr().err


def test_emnist_from_its_archive(offer, server, cache):
    names = downloads.SOURCES["emnist-letters"].files
    files = idx_files(names, first_label=1)
    offer("emnist-letters", files, archive=zipped(files | {"other.gz": b"more"}, "gzip/"))
    dataset = load("emnist-letters")
    upright = IMAGES.transpose(0, 2, 1).reshape(10, 784)
    assert np.array_equal(dataset.train.x, upright[:4])
    assert np.array_equal(dataset.test.x, upright[6:])
    assert dataset.test.y.tolist() == LABELS[6:].tolist()
    assert dataset.classes[0] == "A" and len(dataset.classes) == 26
    assert server.requests == ["/good/gzip.zip"]
    assert stored(cache) == sorted(names)  # the archive itself is not kept


def test_cifar_from_its_archive(offer, server, cache):
    files = cifar_files()
    archive = tarred(files | {"readme.html": b"more"}, "cifar-10-batches-bin/")
    offer("cifar-10", files, archive=archive)
    assert_is_small_cifar(load("cifar-10"))
    assert server.requests == ["/good/cifar-10-binary.tar.gz"]
    assert stored(cache) == sorted(files)


def assert_is_small_cifar(dataset):
    images = RECORDS[:, 1:].reshape(12, 3, 32, 32)
    splits = (dataset.train, dataset.validation, dataset.test)
    for split, chosen in zip(splits, (slice(8), slice(8, 10), slice(10, 12)), strict=True):
        assert np.array_equal(split.x, images[chosen])
        assert split.y.tolist() == RECORDS[chosen, 0].tolist()


def test_archive_with_a_wrong_member(offer, cache):
    files = cifar_files()
    wrong = {name: b"not this" for name in files}
    offer("cifar-10", files, archive=tarred(wrong, "cifar-10-batches-bin/"))
    with pytest.raises(OSError, match=sha256(b"not this")):
        load("cifar-10")
    assert stored(cache) == []


# A folder of one's own


@pytest.mark.parametrize("inside", ["", "mnist"])
def test_local_folder(offer, server, cache, tmp_path, monkeypatch, inside):
    offer("mnist", idx_files(IDX))
    put(tmp_path / "mine" / inside, idx_files(IDX))
    assert_is_small_mnist(load("mnist", folder=tmp_path / "mine"))
    monkeypatch.setenv("CL_LIB_DATA", str(tmp_path / "mine"))
    assert_is_small_mnist(load("mnist"))
    assert server.requests == [] and not cache.exists()


@pytest.mark.parametrize("inside", ["", "cifar-10", "cifar-10-batches-bin",
                                    "cifar-10/cifar-10-batches-bin"])  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_local_folder_of_cifar(offer, monkeypatch, tmp_path, inside, packed):
    files = cifar_files()
    compressed = {f"{name}.xz": lzma.compress(content) for name, content in files.items()}
    source = offer("cifar-10", files)
    digests = " ".join(map(sha256, (files | compressed).values()))
    source = dataclasses.replace(source, digests=digests)
    monkeypatch.setitem(downloads.SOURCES, "cifar-10", source)
    put(tmp_path / "mine" / inside, compressed if packed else files)
    assert_is_small_cifar(load("cifar-10", folder=str(tmp_path / "mine")))


def test_folder_argument_comes_before_the_environment(offer, tmp_path, monkeypatch):
    offer("mnist", idx_files(IDX))
    monkeypatch.setenv("CL_LIB_DATA", str(put(tmp_path / "wrong", {IDX[0]: b"damaged"})))
    assert_is_small_mnist(load("mnist", folder=put(tmp_path / "mine", idx_files(IDX))))


def test_what_the_folder_lacks_is_downloaded(offer, server, cache, tmp_path):
    files = idx_files(IDX)
    offer("mnist", files)
    missing = files.pop(IDX[2])
    assert_is_small_mnist(load("mnist", folder=put(tmp_path / "mine", files)))
    assert server.requests == [f"/good/{IDX[2]}"]
    assert (cache / "mnist" / IDX[2]).read_bytes() == missing


def test_corrupt_local_file_is_refused(offer, server, tmp_path):
    files = idx_files(IDX)
    offer("mnist", files)
    mine = put(tmp_path / "mine", files | {IDX[3]: b"damaged"})
    with pytest.raises(ValueError) as caught:
        load("mnist", folder=mine)
    message = str(caught.value)
    found, expected = sha256(b"damaged"), sha256(files[IDX[3]])
    assert f"{mine / IDX[3]} has the SHA-256 {found}, but {expected} was expected." in message
    assert "Delete it or replace it" in message
    assert (mine / IDX[3]).exists() and server.requests == []


def test_folder_that_does_not_exist(tmp_path, monkeypatch):
    path = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=re.escape(f"folder is {path!r}, which is not a folder")):
        load("mnist", folder=path)
    monkeypatch.setenv("CL_LIB_DATA", path)
    message = f"CL_LIB_DATA is {path!r}, which is not a folder"
    with pytest.raises(ValueError, match=re.escape(message)):
        load("mnist")


def test_empty_variables_count_as_unset(offer, cache, monkeypatch, tmp_path):
    offer("mnist", idx_files(IDX))
    monkeypatch.setenv("CL_LIB_DATA", "")
    monkeypatch.setenv("CL_LIB_CACHE", "")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "system" / project)
    monkeypatch.chdir(put(tmp_path / "here", {IDX[0]: b"no data of ours"}))
    assert_is_small_mnist(load("mnist"))
    assert stored(tmp_path / "system" / "cl_lib" / "mnist") == sorted(IDX)


def test_splits_share_no_memory(offer, tmp_path):
    offer("mnist", idx_files(IDX))
    dataset = load("mnist", folder=put(tmp_path / "mine", idx_files(IDX)))
    storages = [s.x.untyped_storage() for s in (dataset.train, dataset.validation, dataset.test)]
    assert [storage.nbytes() for storage in storages] == [4 * 784, 2 * 784, 4 * 784]


# The real files


FACTS = {  # name: first labels of train and of test, mean and deviation of the training pixels
    "mnist": ([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9], 0.13066, 0.30811),
    "fashion-mnist": (
        [9, 0, 0, 3, 0, 2, 7, 2, 5, 5], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7], 0.28604, 0.35302,
    ),
    "emnist-letters": ([22, 6, 15, 14, 22, 16, 12, 10, 21, 23], [0] * 10, 0.17223, 0.33095),
}  # fmt: skip
COUNTS = {  # images of each class in train and validation together, and in test
    "mnist": (
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ),
    "fashion-mnist": ([6000] * 10, [1000] * 10),
    "emnist-letters": ([4800] * 26, [800] * 26),
}


@functools.cache
def real(name):
    if not REAL or not (Path(REAL) / name).is_dir():
        pytest.skip(f"needs {name} in CL_LIB_DATA")
    return load(name, folder=REAL)


def moments(x):
    """Return mean and standard deviation of pixels / 255, from exact counts of the levels."""
    counts = np.bincount(x.numpy().ravel(), minlength=256) / x.numel()
    levels = np.arange(256) / 255
    mean = counts @ levels
    return [mean, np.sqrt(counts @ (levels - mean) ** 2)]


@pytest.mark.parametrize("name", FACTS)
def test_real_data(name):
    dataset = real(name)
    train, validation, test = dataset.train, dataset.validation, dataset.test
    first, first_test, mean, deviation = FACTS[name]
    assert train.y[:10].tolist() == first and test.y[:10].tolist() == first_test
    counts, test_counts = COUNTS[name]
    assert (torch.bincount(train.y) + torch.bincount(validation.y)).tolist() == counts
    assert torch.bincount(test.y).tolist() == test_counts
    assert all(split.x.shape[1:] == (784,) for split in (train, validation, test))
    x = torch.cat([train.x, validation.x])
    np.testing.assert_allclose(moments(x), [mean, deviation], atol=5.1e-6)


@pytest.mark.parametrize(("name", "size"), [("mnist", 10_000), ("emnist-letters", 20_800)])
def test_classes_are_balanced_in_validation(name, size):
    labels = real(name).validation.y
    assert len(labels) == size
    shares = torch.bincount(labels) * len(COUNTS[name][0]) / size
    assert (shares - 1).abs().max() <= (0.1 if name == "mnist" else 0)


def test_letters_are_upright():
    """The bar of a T lies in the upper rows, not in the columns on the left."""
    test = real("emnist-letters").test
    letters = test.x[test.y == string.ascii_uppercase.index("T")].reshape(-1, 28, 28).float()
    assert letters[:, :10].mean() > 1.5 * letters[:, :, :10].mean()


def test_real_cifar(monkeypatch):
    """One batch of five, as they take long to unpack; the others are known by their hashes."""
    source = downloads.SOURCES["cifar-10"]
    files = ("data_batch_1.bin", "test_batch.bin")
    digests = " ".join(source.sha256[file + end] for end in ("", ".xz") for file in files)
    one = dataclasses.replace(source, files=files, digests=digests, validation=1000)
    monkeypatch.setitem(downloads.SOURCES, "cifar-10", one)
    dataset = real("cifar-10")
    train, test = dataset.train, dataset.test
    assert train.y[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert test.y[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert train.x.shape == (9000, 3, 32, 32) and torch.bincount(test.y).tolist() == [1000] * 10
    assert dataset.classes[int(train.y[0])] == "frog"
    measured = np.array([moments(channel) for channel in train.x.unbind(1)]).T
    expected = [[0.49140, 0.48216, 0.44653], [0.24703, 0.24349, 0.26159]]  # of all five
    np.testing.assert_allclose(measured, expected, atol=0.003)


def test_hashes_are_those_of_the_data_folder():
    if not REAL or not (Path(REAL) / "SHA256SUMS").is_file():
        pytest.skip("needs SHA256SUMS in CL_LIB_DATA")
    ours = {
        (name, file): digest
        for name, source in downloads.SOURCES.items()
        for file, digest in source.sha256.items()
    }
    for line in (Path(REAL) / "SHA256SUMS").read_text().splitlines():
        digest, path = line.split()
        name, file = Path(path).parts[0], Path(path).name
        if file.endswith((".gz", ".xz")):
            assert ours[name, file] == digest


def test_every_file_has_a_hash():
    for source in downloads.SOURCES.values():
        assert set(source.files) <= set(source.sha256)
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in source.digests.split())
