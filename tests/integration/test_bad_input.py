"""What is wrong is said at the call, with what was given and what was expected."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backends import make_store, options_of

import s3dlio
from s3dlio.errors import InvalidUriError, S3dlioError, UnsupportedError
from s3dlio.testing import Door

MALFORMED = ["foo://bucket/key", "s3:/x", "s3://", "s3:///key", "key", "", "s3:bucket/key", "://b/k", "file://relative/x",
             "file:relative", "/absolute/path", "s3://bu cket/key", "http://host/key"]  # fmt: skip
URI_VERBS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "get": lambda uri: (uri,),
    "get_range": lambda uri: (uri, 0, 10),
    "get_ranges": lambda uri: (uri, [(0, 10)]),
    "get_many": lambda uri: ([uri],),
    "get_into": lambda uri: (uri, bytearray(10)),
    "get_many_into": lambda uri: ([uri], [bytearray(10)]),
    "put": lambda uri: (uri, b"data"),
    "put_many": lambda uri: ([(uri, b"data")],),
    "stat": lambda uri: (uri,),
    "exists": lambda uri: (uri,),
    "list": lambda uri: (uri,),
    "delete": lambda uri: (uri,),
    "delete_many": lambda uri: ([uri],),
    "delete_prefix": lambda uri: (uri,),
    "copy": lambda uri: (uri, uri),
    "move": lambda uri: (uri, uri),
    "presign": lambda uri: (uri,),
}


@pytest.mark.parametrize("uri", MALFORMED)
@pytest.mark.parametrize("verb", URI_VERBS)
def test_a_malformed_uri_is_refused_with_its_text(call: Door, verb: str, uri: str) -> None:
    with pytest.raises(InvalidUriError) as caught:
        call(getattr(s3dlio, verb), *URI_VERBS[verb](uri))
    assert isinstance(caught.value, ValueError)
    assert uri in str(caught.value)
    assert caught.value.kind == "invalid_uri"


@pytest.mark.parametrize("uri", [b"s3://bucket/key", 5, None, ["s3://bucket/key"]], ids=repr)
@pytest.mark.parametrize("verb", URI_VERBS)
def test_what_is_no_text_is_no_uri(call: Door, verb: str, uri: Any) -> None:
    with pytest.raises(TypeError):
        call(getattr(s3dlio, verb), *URI_VERBS[verb](uri))


@pytest.mark.parametrize("verb", ["get_many", "delete_many"])
def test_one_uri_is_no_list_of_uris(call: Door, verb: str, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError)):
        call(getattr(s3dlio, verb), f"file://{tmp_path}/key")


@pytest.mark.parametrize("uri", ["gs://bucket/key", "az://bucket/key"])
def test_a_scheme_that_is_to_come_says_so(call: Door, uri: str) -> None:
    with pytest.raises(UnsupportedError, match=uri[:2]):
        call(s3dlio.get, uri)
    with pytest.raises(UnsupportedError):
        s3dlio.Store(uri)


def test_uris_outside_the_root_are_refused(call: Door, tmp_path: Path) -> None:
    store = make_store(f"file://{tmp_path}/root")
    for key in (f"file://{tmp_path}/other/key", "s3://bucket/key", f"file://{tmp_path}/root2/key"):
        with pytest.raises(ValueError):
            call(store.get, key)
        with pytest.raises(ValueError):
            call(store.put, key, b"")


IMPOSSIBLE = {
    "part_bytes": [0, -1, 1.5, "8", float("nan"), None],
    "max_in_flight": [0, -1, 1.5, "8", True],
    "max_attempts": [0, -1],
    "backoff_seconds": [-1.0, float("nan"), float("inf"), "1"],
    "connect_timeout_seconds": [0, -1, float("nan"), float("inf"), "5", None],
    "stall_timeout_seconds": [0, -1, float("nan"), float("inf")],
    "endpoint": ["not a url", "ftp://host", "127.0.0.1:9000", "", 5],
    "addressing": ["both"],
    "direct_fallback": ["silently"],
    "put_part_bytes": [1, 5 * 2**20 - 1, 6 * 2**30],
    "verify_tls": ["no"],
    "credentials": ["AKID"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in IMPOSSIBLE.items() for value in values]
)
def test_an_impossible_option_is_refused_when_it_is_made(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        options_of(**{name: value})


def test_an_unknown_option_is_refused_when_it_is_made() -> None:
    from s3dlio.options import ReadOptions

    with pytest.raises(TypeError, match="part_size"):
        ReadOptions(part_size=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        s3dlio.Store("memory://b", {"part_bytes": 5})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0", "-1", "many", "nan"])
def test_an_impossible_variable_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("S3DLIO_PART_BYTES", value)
    with pytest.raises(ValueError, match="S3DLIO_PART_BYTES"):
        s3dlio.Store("memory://b")


@pytest.mark.parametrize(
    "arguments",
    [{"max_in_flight": 0}, {"max_in_flight": -1}, {"max_in_flight": "4"}, {"max_in_flight": 1.5}],
)
def test_an_impossible_argument_is_refused(call: Door, arguments: dict[str, Any]) -> None:
    store = make_store("memory://b")
    with pytest.raises((ValueError, TypeError), match="max_in_flight"):
        call(store.get_many, ["a"], **arguments)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "5"])
def test_an_impossible_memory_limit_is_refused(call: Door, limit: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="memory_limit"):
        call.each(make_store("memory://b").iter_many, ["a"], memory_limit=limit)


@pytest.mark.parametrize("expires", [0, -1, float("nan"), 10**9, "60"])
def test_an_impossible_expiry_is_refused(call: Door, expires: Any) -> None:
    store = make_store(
        "s3://bucket", endpoint="http://127.0.0.1:1", access_key_id="a", secret_access_key="b"
    )
    with pytest.raises((ValueError, TypeError), match="expires"):
        call(store.presign, "key", "GET", expires)
    with pytest.raises((ValueError, TypeError), match="PATCH"):
        call(store.presign, "key", "PATCH", 60)


def test_two_files_of_one_name_are_not_downloaded_over_each_other(
    call: Door, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "same").write_bytes(b"1")
    (tmp_path / "b" / "same").write_bytes(b"2")
    target = make_store(f"memory://{tmp_path.name}")
    with pytest.raises(ValueError, match="same"):
        call(
            s3dlio.upload, [str(tmp_path / "a" / "same"), str(tmp_path / "b" / "same")], target.uri
        )
    assert len(target.list("")) == 0


class TestFiles:
    def test_a_directory_is_no_object(self, call: Door, tmp_path: Path) -> None:
        (tmp_path / "folder" / "inner").mkdir(parents=True)
        store = make_store(f"file://{tmp_path}", max_attempts=5)
        for attempt in (
            lambda: call(store.get, "folder"),
            lambda: call(store.get_range, "folder", 0, 10),
            lambda: call(store.put, "folder", b"1"),
            lambda: call(store.copy, "folder", "copy"),
        ):
            with pytest.raises(S3dlioError, match="folder") as caught:
                attempt()
            assert caught.value.attempts == 1
        assert call(store.exists, "folder") is False
        assert (tmp_path / "folder" / "inner").is_dir()
        assert store.counters()["retries"] == 0

    def test_a_file_is_no_directory(self, call: Door, tmp_path: Path) -> None:
        store = make_store(f"file://{tmp_path}")
        store.put("file", b"1")
        assert call(store.exists, "file/below") is False
        with pytest.raises(S3dlioError):
            call(store.get, "file/below")
        with pytest.raises(S3dlioError):
            call(store.put, "file/below", b"1")

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to become someone else")
    def test_a_permission_denied_is_typed_for_root_turned_user(self, tmp_path: Path) -> None:
        self._denied(tmp_path, "os.setgroups([]); os.setgid(65534); os.setuid(65534)")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root is denied nothing")
    def test_a_permission_denied_is_typed(self, tmp_path: Path) -> None:
        self._denied(tmp_path, "pass")

    def _denied(self, tmp_path: Path, become: str) -> None:
        for folder in [tmp_path, *tmp_path.parents[:3]]:
            if folder != Path(tempfile.gettempdir()):
                folder.chmod(0o755)
        (tmp_path / "key").write_bytes(b"1")
        (tmp_path / "key").chmod(0)
        (tmp_path / "locked").mkdir(0o500)
        run(
            f"""
import os
import s3dlio
store = s3dlio.Store("file://{tmp_path}")
{become}
for attempt in (lambda: store.get("key"), lambda: store.put("locked/new", b"1"), lambda: store.put("new", b"1")):
    try:
        attempt()
    except s3dlio.PermissionDeniedError as error:
        assert isinstance(error, PermissionError) and error.attempts == 1, error
    else:
        raise SystemExit("allowed")
"""
        )

    def test_a_full_disk_is_typed_and_leaves_nothing(self, tmp_path: Path) -> None:
        script = f"""
import os
import s3dlio
store = s3dlio.Store("file://{tmp_path}")
store.put("small", b"1")
try:
    store.put("big", bytes(1 << 20))
except s3dlio.QuotaExceededError as error:
    assert error.attempts == 1 and "big" in str(error), error
else:
    raise SystemExit("it fitted")
assert os.listdir("{tmp_path}") == ["small"], os.listdir("{tmp_path}")
"""
        mount = f"mount -t tmpfs -o size=256k none {tmp_path}"
        inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
        try:
            probe = subprocess.run([*inside, mount], capture_output=True, timeout=10, check=False)
        except FileNotFoundError:
            pytest.skip("no unshare here to mount a small disk with")
        if probe.returncode != 0:
            pytest.skip("no small disk can be mounted here")
        done = subprocess.run(
            [*inside, f'{mount} && exec "$0" -c "$1"', sys.executable, script],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
