"""Find, download and check the files of the data sets: none is used before its SHA-256 is right."""

import hashlib
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

_IDX = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
_IDX += [file.replace("train", "t10k") for file in _IDX]
_SCRATCH = ".download-"
_DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Source:
    """Where the files of a data set come from and how they are recognised."""

    addresses: tuple[str, ...]  # tried in turn
    digests: str  # SHA-256 of each file, then of each file packed with xz (looked for locally)
    files: tuple[str, ...] = tuple(_IDX)
    archive: str = ""  # set where the files are offered only together
    archive_hash: str = ""
    prefix: str = ""  # folder of the files in the archive
    validation: int = 10_000  # so many of the last training images

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 of each file by its name."""
        names = [*self.files, *(f"{file}.xz" for file in self.files)]
        return dict(zip(names, self.digests.split(), strict=False))


SOURCES = {
    "mnist": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        """
        440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
        3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
        8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
        f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
        """,
    ),
    "fashion-mnist": Source(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        """
        3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
        a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
        346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
        67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5
        """,
    ),
    "emnist-letters": Source(
        ("https://biometrics.nist.gov/cs_links/EMNIST/",),
        """
        6288f418a917e007bf5fddb823a2dc7a5c6a35031401b93292a539cb12bd881f
        9759af91ea6bccdf07a6040fd085861f2ec88e37f7c3f5760f6feb57106fbe5c
        50f0e93d75b99b463e9760b8345866f22587fa2c2fba472730a5ba09c693412d
        924955c31fe7fd809b7303b5c0141282955f4b8390c74cdfd5d80435e0f4b4cb
        """,
        files=tuple(f"emnist-letters-{file.replace('t10k', 'test')}" for file in _IDX),
        archive="gzip.zip",
        archive_hash="md5:58c8d27c78d21e728a6bc7b3cc06412e",
        prefix="gzip/",
        validation=20_800,
    ),
    "cifar-10": Source(
        ("https://www.cs.toronto.edu/~kriz/",),
        """
        cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5
        a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed
        bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67
        014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48
        755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add
        8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b
        5652818c1bd17051e2bb4a9d3c0ca6e45bbcf59c7845e42eb8cc47460d02ed02
        2066baf421067358281149b8093510651614381820c5ba1fe9cf11c39be44ec5
        76f6da5042ab68c2fe1f99143ed5561c9496a3d6df580d8158bed74d350541c7
        4c506934dda48a9ceae9d5d21c6b631c713e90e36dbd51beb6487fcf8d54796a
        968e1bf2548e41d937e5d0ef2373e077c04074e5d971ecca058c4699b44c614a
        f929af3a6f594dad76ce943d864e2a0b563afeadb62be4672104e51761268991
        """,
        files=(*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
        archive="cifar-10-binary.tar.gz",
        archive_hash="md5:c32a1d4ab5d03f1284b67883e8d87530",
        prefix="cifar-10-batches-bin/",
    ),
}


def _pooch():
    """Import pooch when it is needed: it takes time, and warns in a notebook without widgets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pooch
    return pooch


def local_folder(folder: str | os.PathLike | None) -> Path | None:
    """Return the folder that the user named, if any."""
    origin = "CL_LIB_DATA" if folder is None else "folder"
    given = os.environ.get("CL_LIB_DATA") if folder is None else folder
    if not given:
        return None
    path = Path(given).expanduser()
    if not path.is_dir():
        raise ValueError(
            f"{origin} is {str(given)!r}, which is not a folder; "
            "correct it, or leave it out to have the data downloaded."
        )
    return path


def content(name: str, file: str, local: Path | None, progress: bool) -> bytes:
    """Return the checked bytes of a file, from the local folder, the cache or the network."""
    source = SOURCES[name]
    if local is not None:
        for place in (local / name, local / name / source.prefix, local / source.prefix, local):
            for form in (file, f"{file}.xz"):
                if form in source.sha256 and (place / form).is_file():
                    return _checked(place / form, source.sha256[form])
    cache = Path(os.environ.get("CL_LIB_CACHE") or _pooch().os_cache("cl_lib")).expanduser() / name
    failures = []
    if (cache / file).is_file():
        try:
            return _checked(cache / file, source.sha256[file])
        except ValueError as error:  # a damaged copy is replaced, once a good one is there
            failures.append(str(error))
    return _download(source, file, cache, progress, failures)


def _checked(path: Path, sha256: str) -> bytes:
    """Read a file once: what is checked is what is used."""
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} has the SHA-256 {found}, but {sha256} was expected. The file is damaged, or "
            "belongs to another data set (MNIST and Fashion-MNIST share their file names). "
            "Delete it or replace it; keep each data set in a folder of its name."
        )
    return data


def _download(source: Source, file: str, cache: Path, progress: bool, failures: list[str]) -> bytes:
    """Put a file, or all files of the archive it is in, into the cache; return its checked bytes."""
    wanted, known = file, source.sha256[file]
    if source.archive:
        wanted, known = source.archive, source.archive_hash
    pooch = _pooch()
    downloader = pooch.HTTPDownloader(progressbar=progress, chunk_size=2**16)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        scratch = tempfile.TemporaryDirectory(dir=cache, prefix=_SCRATCH)
    except OSError as error:
        raise OSError(
            f"cannot write to the cache folder {cache} ({error}). Set CL_LIB_CACHE to a folder "
            f"that can be written, or CL_LIB_DATA to one that holds {file}."
        ) from error
    with scratch as folder, FileLock(cache.with_name(f".{cache.name}.lock")):
        if (cache / file).is_file() and not failures:  # another process has downloaded it meanwhile
            return _checked(cache / file, source.sha256[file])
        for address in source.addresses:
            try:
                paths = pooch.retrieve(address + wanted, known, wanted, folder, _unpacker(source), downloader)
                return _install(source, [paths] if isinstance(paths, str) else paths, cache)[file]
            except (OSError, ValueError) as error:  # requests' errors are OSErrors
                failures.append(f"{address + wanted}: {error}")
    raise OSError(
        f"cannot get {file}:\n  " + "\n  ".join(failures) + "\nCheck the network and try again. "
        f"Without one, put {', '.join(source.files)} into {cache}, "
        "or set CL_LIB_DATA to a folder that holds them."
    )


def _unpacker(source: Source) -> Callable | None:
    if not source.archive:
        return None
    pooch = _pooch()
    kind = pooch.Unzip if source.archive.endswith(".zip") else pooch.Untar
    return kind(members=[source.prefix + file for file in source.files])


def _sweep(cache: Path) -> None:
    """Delete what killed downloads have left; a younger folder may belong to one that runs."""
    for folder in cache.glob(f"{_SCRATCH}*"):
        with suppress(FileNotFoundError):  # another process sweeps too
            if time.time() - folder.stat().st_mtime > _DAY:
                shutil.rmtree(folder, ignore_errors=True)


def _install(source: Source, paths: list[str], cache: Path) -> dict[str, bytes]:
    """Put checked files into the cache, and return them; renaming within a file system is atomic."""
    contents = {}
    for path in map(Path, paths):
        data = contents[path.name] = _checked(path, source.sha256[path.name])
        path.unlink()  # written anew, as downloads can be read by their owner only
        path.write_bytes(data)
        path.replace(cache / path.name)
    return contents
