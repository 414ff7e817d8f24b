"""TensorFlow Datasets without TensorFlow: a set is prepared once as ArrayRecord, by one process, and read by all."""

import contextlib
import errno
import functools
import io
import logging
import lzma
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from lab.data import kept
from lab.data.dataset import Dataset
from lab.files import checksums
from lab.files.locks import lock

UrlInfo = tfds.core.download.checksums.UrlInfo
"""An entry of a builder's `url_infos`: size in bytes, sha256, file name."""
PROBE_SECONDS = 3.0

tfds.disable_progress_bar()
# For every set that is not prepared, TFDS creates a temporary folder for metadata from a bucket. The bucket is closed
# permanently (`gcs_utils._is_gcs_disabled`), and the empty folder would remain.
tfds.core.DatasetInfo.initialize_from_bucket = lambda self: None


def prepare(builder: Callable[..., Any], data_dir: Path | None, **options: Any) -> Any:
    """The builder of a set, prepared first if it is not on disk.

    `builder` is a `tfds.core.GeneratorBasedBuilder` that needs no TensorFlow, or a function that creates a builder from
    `options` and `data_dir`. Downloads are cached in `<data_dir>/downloads` and checked before use. TFDS writes to a
    folder beside the set and renames it at the end, so that a set is complete or absent. Raises OSError if the disk is
    full, ValueError if a download does not have the registered sha256, and whatever the builder raises.
    """
    directory = kept.data_directory(data_dir)
    build = functools.partial(builder, data_dir=directory, **options)
    with quiet():
        found = build()
        if found.data_path.exists():
            return found
        alone = lock(kept.folder(directory) / f".{found.name}.lock", wait=True)
        with alone, _full_disk(directory), _one_sentence():
            # Created again, because a builder checks the disk only here and another process may have prepared the set.
            build().download_and_prepare(download_dir=directory / "downloads", file_format="array_record")
        return build()


def examples(builder: Any, splits: Mapping[str, str] | None = None, **options: Any) -> dict[str, Any]:
    """The examples of a prepared set: name -> sequence of examples in the prepared order.

    `splits` maps names to splits or slices such as "train[:100]"; None: the published splits. `options` are passed to
    TFDS's `as_data_source`. Raises ValueError if the set was prepared in a format that only TensorFlow reads.
    """
    asked = dict(splits) if splits else {split: split for split in builder.info.splits}
    try:
        with quiet():
            return {name: builder.as_data_source(split, **options) for name, split in asked.items()}
    except NotImplementedError:
        raise ValueError(
            f"{builder.data_path} was prepared in a format that only TensorFlow can read; remove it, or set "
            f"TFDS_DATA_DIR to another folder"
        ) from None


def dataset(builder: Any, splits: dict[str, dict[str, np.ndarray]], registered: str, **facts: Any) -> Dataset:
    """A data set of these arrays; its provenance has name, version, their `sha256`, the `splits`, and `facts`.

    Raises ValueError if the arrays do not have the registered sha256 (see `checksums.of_splits`).
    """
    sha256 = checksums.of_splits(splits)
    if sha256 != registered:
        raise ValueError(f"the prepared set {builder.data_path} does not have the registered sha256; remove the folder")
    described = {"version": str(builder.version), "sha256": sha256, "splits": checksums.described(splits)}
    return Dataset(splits, {"name": builder.name, **facts, **described})


def downloaded(builder: Any, dl_manager: Any, url: str) -> Path:
    """A file registered in the builder's `url_infos`, from the download cache if present, else from the network.

    Raises FileNotFoundError at once if neither has it (TFDS would retry for 205 s), and ValueError if the file's sha256
    is neither the registered one nor in the builder's `ALSO` (TFDS trusts cached files by name).
    """
    downloads = Path(dl_manager.download_dir)
    path = cache_path(builder, url, downloads)
    if not path.exists():
        probe(builder, url, downloads)
        path = Path(dl_manager.download(url))
    _check(builder, url, path)
    return path


def manual(builder: Any, dl_manager: Any, name: str) -> bytes | None:
    """The content of a file of the builder's `MANUAL` (name -> sha256) that was manually placed in
    `<data_dir>/downloads/manual/<set>/`, uncompressed or as `.xz`; None if it is not there.

    Raises ValueError if it cannot be decompressed, or if its content has another sha256.
    """
    path = _manual_path(builder, Path(dl_manager.download_dir), name)
    return None if path is None else _manual_content(path, builder.MANUAL[name])


def manual_or_downloaded(builder: Any, dl_manager: Any, url: str) -> bytes:
    """The content of a registered file: the manually placed one (see `manual`), else `downloaded`."""
    content = manual(builder, dl_manager, builder.url_infos[url].filename)
    return content or downloaded(builder, dl_manager, url).read_bytes()


def checked(builder: Any, downloads: Path) -> dict[Path, str]:
    """The builder's files on this machine, cached or manually placed, with the sha256 of their contents.

    Raises ValueError, naming the file, if one does not have the registered sha256.
    """
    found = {}
    for url in builder.url_infos or {}:
        path = cache_path(builder, url, downloads)
        if path.exists():
            found[path] = _check(builder, url, path)
    for name, sha256 in getattr(builder, "MANUAL", {}).items():
        by_hand = _manual_path(builder, downloads, name)
        if by_hand:
            _manual_content(by_hand, sha256)
            found[by_hand] = sha256
    return found


def cache_path(builder: Any, url: str, downloads: Path) -> Path:
    """The path where TFDS caches a registered download."""
    file_name = tfds.core.download.resource.get_dl_fname(url, builder.url_infos[url].checksum)
    return downloads / builder.name / file_name


def probe(builder: Any, url: str, downloads: Path) -> None:
    """Raises FileNotFoundError, saying where to place the file manually, if the URL does not respond."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError) and error.code not in (404, 410):
            return  # the host responds, and may refuse only this request
        name = builder.url_infos[url].filename
        by_hand = downloads / "manual" / builder.name / name
        place = by_hand if name in getattr(builder, "MANUAL", {}) else cache_path(builder, url, downloads)
        raise FileNotFoundError(
            f"{builder.name} is not in the download cache and its host does not respond ({error}): save {url} as "
            f"{place}, or set TFDS_DATA_DIR to a folder whose downloads/ holds it"
        ) from error


def _check(builder: Any, url: str, path: Path) -> str:
    return checksums.check_file(path, builder.url_infos[url].checksum, *getattr(builder, "ALSO", ()))


def _manual_path(builder: Any, downloads: Path, name: str) -> Path | None:
    path = downloads / "manual" / builder.name / name
    return next((candidate for candidate in (path, path.with_name(f"{name}.xz")) if candidate.exists()), None)


def _manual_content(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        try:
            content = lzma.decompress(content)
        except lzma.LZMAError as error:
            raise ValueError(f"{path} cannot be decompressed ({error}); remove the file") from None
    found = checksums.of_bytes(content)
    if found != sha256:
        raise ValueError(f"the content of {path} has sha256 {found}, but {sha256} is registered; remove the file")
    return content


@contextlib.contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    """Raise OSError, naming the path, if the disk is full: ArrayRecord raises RuntimeError, NumPy names no path."""
    sentence = os.strerror(errno.ENOSPC)
    try:
        yield
    except (OSError, RuntimeError) as error:
        if sentence not in str(error):
            raise
        raise OSError(errno.ENOSPC, sentence, str(path)) from error


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Shorten TFDS's four-line error about a download with another sha256."""
    try:
        yield
    except tfds.core.download.download_manager.NonMatchingChecksumError as error:
        raise ValueError(f"{str(error).splitlines()[0].rstrip(':')}; it is not used") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence TFDS, which prints during preparation and warns through absl about unknown configurations."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
