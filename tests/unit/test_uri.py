"""URIs as values: parsed, joined, related, refused."""

from __future__ import annotations

import pytest

from s3dlio.errors import InvalidUriError
from s3dlio.uri import URI, is_full


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://train/a.npy", ("s3", "train", "a.npy")),
        ("s3://train", ("s3", "train", "")),
        ("s3://train/", ("s3", "train", "")),
        ("s3://train//x", ("s3", "train", "/x")),
        ("s3://train/a//b/", ("s3", "train", "a//b/")),
        ("s3://train/a b%20+ü?x=1#y", ("s3", "train", "a b%20+ü?x=1#y")),
        ("s3://train/line\nbreak", ("s3", "train", "line\nbreak")),
        ("s3://train/..a/b..", ("s3", "train", "..a/b..")),
        ("S3://Train_1/Key", ("s3", "Train_1", "Key")),
        ("gcs://train/a", ("gs", "train", "a")),
        ("az://$root/a", ("az", "$root", "a")),
        ("file:///data/a", ("file", "", "data/a")),
        ("file:///", ("file", "", "")),
        ("direct:///data/a", ("direct", "", "data/a")),
        ("memory://m/a", ("memory", "m", "a")),
        ("s3://train/" + "k" * 1024, ("s3", "train", "k" * 1024)),
        ("file:///" + "k/" * 1000, ("file", "", "k/" * 1000)),
    ],
)
def test_a_uri_is_taken_apart_and_never_decoded(text: str, parts: tuple[str, str, str]) -> None:
    assert URI.parse(text) == URI(*parts)
    assert URI.parse(str(URI.parse(text))) == URI(*parts)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3:/x", "hint: write s3://x"),
        ("s3:x/y", "scheme://bucket/key"),
        ("/data/a", "write file:///data/a"),
        ("", "scheme://bucket/key"),
        ("key", "scheme://bucket/key"),
        ("://b/k", "scheme://bucket/key"),
        ("http://b/k", "unknown scheme 'http'"),
        ("s3://", "the bucket is missing"),
        ("s3:///key", "the bucket is missing"),
        ("s3://ab/key", "impossible bucket name"),
        ("s3://a..b/key", "impossible bucket name"),
        ("s3://bu cket/key", "impossible bucket name"),
        ("s3://localhost:9000/b/k", "names no host"),
        ("file://data/a", "write file:///folder/name"),
        ("file:data", "write file:///absolute/path"),
        ("s3://train/a/../b", 'segments "." and ".."'),
        ("s3://train/.", 'segments "." and ".."'),
        ("file:///..", 'segments "." and ".."'),
        ("s3://train/a\0b", "NUL"),
        ("s3://train/" + "k" * 1025, "1025 bytes"),
        ("s3://train/" + "ü" * 513, "1026 bytes"),
        ("s3://train/\ud800", "no valid Unicode"),
    ],
)
def test_what_is_no_uri_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidUriError) as caught:
        URI.parse(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize("value", [b"s3://train/a", None, 5, ["s3://train/a"]])
def test_what_is_no_text_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="must be a str"):
        URI.parse(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["s3://me:HID/DEN@train/a", "s3://HIDDEN@train/a"])
def test_a_password_in_a_uri_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidUriError, match="S3Options") as caught:
        URI.parse(text)
    assert "HID" not in str(caught.value)
    assert "DEN" not in f"{caught.value} {caught.value.uri}"


def test_a_prefix_is_a_folder() -> None:
    run1 = URI.parse("s3://train/run1")
    assert run1.covers(URI.parse("s3://train/run1/x"))
    assert run1.covers(run1)
    assert not run1.covers(URI.parse("s3://train/run10/x"))
    assert not run1.covers(URI.parse("s3://other/run1/x"))
    assert str(run1.folder()) == "s3://train/run1/"
    assert run1.folder().folder() == run1.folder()
    assert run1.root == URI("s3", "train", "")
    assert run1.root.folder() == run1.root


@pytest.mark.parametrize("name", ["x", "x/y", "/x", "a b", "x/"])
@pytest.mark.parametrize("root", ["s3://train", "s3://train/run1", "s3://train/run1/", "file:///d"])
def test_joining_and_relating_are_inverse(root: str, name: str) -> None:
    prefix = URI.parse(root)
    assert prefix.join(name).relative_to(prefix) == name


def test_joining_refuses_what_leads_out() -> None:
    with pytest.raises(InvalidUriError):
        URI.parse("s3://train/run1").join("../x")
    with pytest.raises(InvalidUriError, match="does not lie below"):
        URI.parse("s3://train/run10").relative_to(URI.parse("s3://train/run1"))


def test_a_key_is_told_from_a_uri() -> None:
    assert is_full("s3://train/a")
    assert is_full("http://train/a")
    assert not is_full("a/b")
    assert not is_full("a b://c")
    assert not is_full("time:/x")
    with pytest.raises(InvalidUriError):
        is_full("s3:/x")
