"""TensorFlow Datasets without TensorFlow: a set is prepared once as ArrayRecord, by one process, and read by all."""

import contextlib
import fcntl
import functools
import hashlib
import io
import logging
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

PROBE_SECONDS = 3.0

tfds.disable_progress_bar()


def data_directory(data_dir: Path | None) -> Path:
    """Where prepared sets lie: `data_dir`, else `TFDS_DATA_DIR` as it is now (TFDS reads it once, when it is imported),
    else TFDS's default."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().resolve()


def examples(builder_class: type, data_dir: Path | None, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """All examples of a set, split -> examples in the prepared order; the set is prepared first if it is not on disk.

    `builder_class` is a `tfds.core.GeneratorBasedBuilder` that needs no TensorFlow, `options` are its keyword
    arguments. Downloads are looked for and kept in `<data_dir>/downloads`. Raises ValueError when the set was prepared
    by other means in a format that only TensorFlow reads, and whatever the builder raises.
    """
    directory = data_directory(data_dir)
    build = functools.partial(builder_class, data_dir=directory, **options)
    with _quiet():
        builder = build()
        if not builder.data_path.exists():
            with _lock(directory / f".{builder.name}.lock"):
                # Built again because a builder looks at the disk only here: another process may have prepared the set.
                build().download_and_prepare(download_dir=directory / "downloads", file_format="array_record")
            builder = build()
        try:
            return {split: list(source) for split, source in builder.as_data_source().items()}
        except NotImplementedError:
            raise ValueError(
                f"{builder.data_path} was prepared in a format that only TensorFlow reads; remove it, or set "
                f"TFDS_DATA_DIR to another folder"
            ) from None


def downloaded(builder: Any, dl_manager: Any, url: str) -> Path:
    """A file that the builder registers in `url_infos`: from the download cache if it is there, else from the network.

    Raises FileNotFoundError at once when there is neither (TFDS would retry for 205 s), and ValueError when the file's
    sha256 is not the registered one (TFDS trusts a cached file by its name).
    """
    registered = builder.url_infos[url]
    file_name = tfds.core.download.resource.get_dl_fname(url, registered.checksum)
    path = Path(dl_manager.download_dir) / builder.name / file_name
    if not path.exists():
        _probe(builder.name, url, path)
        path = Path(dl_manager.download(url))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != registered.checksum:
        raise ValueError(
            f"{path} has sha256 {sha256}, but {registered.checksum} is registered for {url}; remove the file"
        )
    return path


def _probe(name: str, url: str, path: Path) -> None:
    """Raises FileNotFoundError when the url does not answer."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise FileNotFoundError(
            f"{name} is not in the download cache and its host does not answer ({error}): save {url} as {path}, or set "
            f"TFDS_DATA_DIR to a folder whose downloads/ holds it"
        ) from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time, and freed by the system when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS prints when it prepares, and warns through absl about every configuration it does not know by name."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
