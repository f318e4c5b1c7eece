"""URIs keep every character; joining and taking apart undo each other."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from s3dlio.errors import InvalidUriError
from s3dlio.uri import URI

CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
SEGMENTS = st.text(CHARACTERS.filter(lambda c: c != "/"), max_size=20).filter(
    lambda s: s not in (".", "..")
)
KEYS = (
    st.lists(SEGMENTS, min_size=1, max_size=6)
    .map("/".join)
    .filter(lambda key: len(key.encode()) <= 1000)
)
BUCKETS = st.from_regex(r"[a-z0-9][a-z0-9-]{1,40}[a-z0-9]", fullmatch=True)


@given(st.sampled_from(["s3", "memory"]), BUCKETS, KEYS)
def test_a_uri_is_its_text(scheme: str, bucket: str, key: str) -> None:
    text = f"{scheme}://{bucket}/{key}"
    uri = URI.parse(text)
    assert (uri.scheme, uri.bucket, uri.key) == (scheme, bucket, key)
    assert str(uri) == text
    assert URI.parse(str(uri)) == uri


@given(KEYS)
def test_a_path_is_its_text(path: str) -> None:
    for scheme in ("file", "direct"):
        assert str(URI.parse(f"{scheme}:///{path}")) == f"{scheme}:///{path}"


@given(KEYS, KEYS)
def test_join_and_relative_to_undo_each_other(prefix: str, name: str) -> None:
    root = URI.parse(f"memory://bucket/{prefix}")
    assume(len(f"{prefix}/{name}".encode()) <= 1024)
    joined = root.join(name)
    assert root.covers(joined)
    assert joined.relative_to(root) == name


@given(SEGMENTS.filter(bool), SEGMENTS.filter(bool))
def test_a_longer_name_is_not_below_a_shorter_one(name: str, more: str) -> None:
    assert not URI("memory", "b", name).covers(URI("memory", "b", f"{name}{more}"))


@given(st.text(max_size=40))
def test_any_text_is_a_uri_or_a_typed_refusal(text: str) -> None:
    try:
        uri = URI.parse(text)
    except InvalidUriError:
        return
    assert URI.parse(str(uri)) == uri
