"""The archive of axe-core: kept after the first download, and used only with the pinned digest."""

import hashlib
import sys
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="make browser-test installs selenium")

from browserkit.axe import VERSION, axe_source


def test_kept_archive_needs_no_network(axe: str, tmp_path: Path) -> None:
    assert f"axe v{VERSION}" in axe[:100]
    assert axe_source(url="http://127.0.0.1:9/none") == axe
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9/none: .* Run `make browser-test` once with a network"):
        axe_source(tmp_path, "http://127.0.0.1:9/none")


def test_other_archive_is_refused_and_not_kept(tmp_path: Path) -> None:
    other = tmp_path / "other.tgz"
    other.write_bytes(b"another archive")
    with pytest.raises(RuntimeError, match="has another SHA-512"):
        axe_source(tmp_path / "cache", other.as_uri())
    assert not (tmp_path / "cache").exists()


def test_damaged_archive_is_downloaded_again(axe: str, tmp_path: Path) -> None:
    (kept,) = (Path(sys.prefix) / "share" / "syft-flwr-tests").glob("axe-core-*.tgz")
    (tmp_path / kept.name).write_bytes(b"damaged")
    assert axe_source(tmp_path, kept.as_uri()) == axe
    digests = {hashlib.sha512(path.read_bytes()).digest() for path in (kept, tmp_path / kept.name)}
    assert len(digests) == 1
