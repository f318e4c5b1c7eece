"""The calls that the project set out to make work, as they were written down."""

from __future__ import annotations

from pathlib import Path

import pytest

import s3dlio
from s3dlio.testing import FaultServer


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, of_server: FaultServer) -> str:
    return "s3://bucket" if request.param == "s3" else f"file://{tmp_path}/bucket"


def test_the_calls_work_as_written(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    Path("test.txt").write_bytes(b"hello")
    data = bytes(range(256)) * 16

    s3dlio.upload(["test.txt"], f"{place}/prefix/")
    assert list(s3dlio.list(f"{place}/prefix/")) == [f"{place}/prefix/test.txt"]

    s3dlio.upload(["test.txt"], f"{place}/")
    s3dlio.download(f"{place}/test.txt", "./local/")
    assert Path("local/test.txt").read_bytes() == b"hello"

    s3dlio.put(f"{place}/file.bin", data)
    view = s3dlio.get(f"{place}/file.bin")
    assert bytes(view.memoryview()) == data

    view = s3dlio.get_range(f"{place}/file.bin", 0, 1024)
    assert bytes(view.memoryview()) == data[:1024]

    s3dlio.put_many([(f"{place}/file1", b"1"), (f"{place}/file2", b"22")])
    views = s3dlio.get_many([f"{place}/file1", f"{place}/file2"])
    assert [bytes(view.memoryview()) for view in views] == [b"1", b"22"]


def test_a_tree_is_kept_by_download(place: str, tmp_path: Path) -> None:
    s3dlio.put_many(
        [(f"{place}/run/a", b"1"), (f"{place}/run/b/c", b"2"), (f"{place}/run2/x", b"3")]
    )
    s3dlio.download(f"{place}/run/", str(tmp_path / "out"))
    found = {
        str(path.relative_to(tmp_path / "out"))
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert {name.removeprefix("run/") for name in found} == {"a", "b/c"}


def test_names_to_upload_are_literal(place: str, tmp_path: Path) -> None:
    for name in ("a.txt", "axtxt", "[a].txt"):
        (tmp_path / name).write_bytes(name.encode())
    s3dlio.upload([str(tmp_path / "a.txt"), str(tmp_path / "[a].txt")], f"{place}/up/")
    assert sorted(s3dlio.list(f"{place}/up/")) == [f"{place}/up/[a].txt", f"{place}/up/a.txt"]
    with pytest.raises(FileNotFoundError):
        s3dlio.upload([str(tmp_path / "*.txt")], f"{place}/up/")
