"""Which file becomes which object, and what is refused before anything moves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import s3dlio
from s3dlio.errors import InvalidUriError, NotFoundError


@pytest.fixture
def dest(request: pytest.FixtureRequest) -> str:
    return f"memory://{abs(hash(request.node.nodeid))}/p"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("test.txt", "data/a/b.npy", "data/[x].txt", "other/test.txt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(dest: str) -> list[str]:
    return [uri.removeprefix(dest + "/") for uri in s3dlio.list(dest, recursive=True)]


@pytest.mark.usefixtures("here")
class TestUpload:
    def test_files_keep_their_names_and_folders_their_tree(self, dest: str) -> None:
        report = s3dlio.upload(["test.txt", Path("data")], dest)
        assert names(dest) == ["data/[x].txt", "data/a/b.npy", "test.txt"]
        assert (report.files, report.bytes) == (3, len("test.txtdata/a/b.npydata/[x].txt"))

    def test_names_are_literal(self, dest: str) -> None:
        s3dlio.upload("data/[x].txt", dest)
        assert names(dest) == ["[x].txt"]
        with pytest.raises(FileNotFoundError):
            s3dlio.upload("*.txt", dest)

    def test_a_glob_keeps_the_tree_below_its_first_wildcard(self, dest: str) -> None:
        s3dlio.upload("data/**/*.npy", dest, glob=True)
        assert names(dest) == ["a/b.npy"]
        with pytest.raises(FileNotFoundError, match="zip"):
            s3dlio.upload("*.zip", dest, glob=True)

    def test_one_missing_file_stops_all(self, dest: str) -> None:
        with pytest.raises(FileNotFoundError, match="missing"):
            s3dlio.upload(["test.txt", "missing"], dest)
        assert names(dest) == []

    def test_two_files_of_one_name_are_refused(self, dest: str) -> None:
        with pytest.raises(ValueError, match=r"test\.txt would be written to"):
            s3dlio.upload(["test.txt", "other/test.txt"], dest)
        assert names(dest) == []
        s3dlio.upload(["test.txt", "./test.txt"], dest)
        assert names(dest) == ["test.txt"]

    def test_a_folder_that_links_to_itself_is_refused(self, dest: str) -> None:
        os.symlink("..", "data/loop")
        with pytest.raises(ValueError, match="holds it"):
            s3dlio.upload("data", dest)

    def test_what_is_no_file_is_refused(self, dest: str) -> None:
        os.mkfifo("pipe")
        with pytest.raises(ValueError, match="neither a file nor a directory"):
            s3dlio.upload("pipe", dest)
        with pytest.raises(ValueError, match="path of this machine"):
            s3dlio.upload("s3://bucket/key", dest)
        with pytest.raises(TypeError, match="bytes"):
            s3dlio.upload([b"test.txt"], dest)  # type: ignore[list-item]


class TestDownload:
    @pytest.fixture
    def target(self, tmp_path: Path) -> Path:
        return tmp_path / "target"

    def test_a_prefix_becomes_a_tree(self, dest: str, target: Path) -> None:
        s3dlio.put_many([(f"{dest}/{name}", name.encode()) for name in ("a", "d/b c", "d/e/%20")])
        for src in (dest, dest + "/"):
            report = s3dlio.download(src, target)
            assert (report.files, report.bytes) == (3, 13)
        assert sorted(str(f.relative_to(target)) for f in target.rglob("*") if f.is_file()) == [
            "a",
            "d/b c",
            "d/e/%20",
        ]
        assert (target / "d" / "b c").read_bytes() == b"d/b c"

    def test_an_object_becomes_a_file(self, dest: str, target: Path) -> None:
        s3dlio.put(f"{dest}/a", b"1")
        s3dlio.download(f"{dest}/a", target)
        assert (target / "a").read_bytes() == b"1"

    def test_markers_of_folders_are_no_files(self, dest: str, target: Path) -> None:
        s3dlio.put_many([(f"{dest}/d/", b""), (f"{dest}/d/a", b"1")])
        assert s3dlio.download(dest, target).files == 1

    def test_nothing_there_is_not_found(self, dest: str, target: Path) -> None:
        for src in (dest, dest + "/"):
            with pytest.raises(NotFoundError):
                s3dlio.download(src, target)
        assert not target.exists()

    def test_a_key_that_leads_out_is_refused(self, dest: str, target: Path) -> None:
        s3dlio.put_many([(f"{dest}/a", b"1"), (f"{dest}//etc/passwd", b"1")])
        with pytest.raises(InvalidUriError, match="passwd"):
            s3dlio.download(dest, target)
        assert not target.exists()

    def test_a_link_that_leads_out_is_refused(
        self, dest: str, target: Path, tmp_path: Path
    ) -> None:
        s3dlio.put(f"{dest}/link/x", b"1")
        (tmp_path / "outside").mkdir()
        target.mkdir()
        (target / "link").symlink_to(tmp_path / "outside")
        with pytest.raises(InvalidUriError, match="outside"):
            s3dlio.download(dest, target)
        assert list((tmp_path / "outside").iterdir()) == []

    def test_a_file_in_the_place_of_a_folder_is_refused(self, dest: str, target: Path) -> None:
        s3dlio.put_many([(f"{dest}/a", b"1"), (f"{dest}/a/b", b"1")])
        with pytest.raises(ValueError, match="folder"):
            s3dlio.download(dest, target)
        assert not target.exists()

    def test_a_uri_is_no_directory(self, dest: str) -> None:
        with pytest.raises(ValueError, match="path of this machine"):
            s3dlio.download(dest, "s3://bucket/")
