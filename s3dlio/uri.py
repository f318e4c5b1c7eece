"""URIs of objects, prefixes and buckets: pure values, no I/O.

    uri     = scheme "://" bucket "/" key
    scheme  = "s3" | "gs" ("gcs") | "az" | "file" | "direct" | "memory"
    bucket  = empty for file and direct, whose URIs hold an absolute path: file:///data/a.npy
    key     = any text without NUL and without "." or ".." as a segment;
              at most 1024 bytes of UTF-8 where a service stores it

The key is raw: nothing is decoded, so `%20` is three characters, and `?`, `#`, `+` and spaces
belong to it. Every "/" counts: the key of `s3://b//x` is "/x". The key of `file:///data/a` is
"data/a". A prefix is a folder: "s3://b/run1" covers "s3://b/run1/x", never "s3://b/run10/x".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from s3dlio.errors import InvalidUriError

MAX_KEY_BYTES = 1024

_LOCAL = frozenset({"file", "direct"})
_ALIASES = {"gcs": "gs"}

# Looser than AWS demands of new buckets: servers on premises allow more.
_BUCKETS = {
    "s3": (re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]"), "3 to 63 letters"),
    "gs": (re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]"), "3 to 222 letters"),
    "az": (re.compile(r"\$?[A-Za-z0-9][A-Za-z0-9-]{1,61}[A-Za-z0-9]"), "3 to 63 letters"),
    "memory": (re.compile(r"[A-Za-z0-9._-]{1,63}"), "1 to 63 letters"),
}
SCHEMES = (*_BUCKETS, *sorted(_LOCAL))

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(?:/(.*))?", re.DOTALL)
_REFUSED = re.compile(r"\x00|(?:^|/)\.\.?(?:/|$)")
# A secret key may hold "/", so after a colon everything up to the "@" goes.
_CREDENTIALS = re.compile(r"//(?:[^/@]*:[^@]*|[^/@]*)@")


@dataclass(frozen=True, slots=True)
class URI:
    """One place in one store.

    >>> uri = URI.parse("s3://train/run1/a b.npy")
    >>> uri
    URI(scheme='s3', bucket='train', key='run1/a b.npy')
    >>> str(uri.folder().join("c.npy"))
    's3://train/run1/a b.npy/c.npy'
    """

    scheme: str
    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> URI:
        """Take `text` apart.

        Raises:
            InvalidUriError: `text` does not follow the grammar above.
            TypeError: `text` is no str.
        """
        if not isinstance(text, str):
            raise TypeError(f"a URI must be a str, got {type(text).__name__}")
        match = _URI.fullmatch(text)
        if match is None:
            raise _invalid(text, "expected `scheme://bucket/key`", _hint_of_form(text))
        scheme, bucket, key = match.group(1).lower(), match.group(2), match.group(3) or ""
        scheme = _ALIASES.get(scheme, scheme)
        if scheme in _LOCAL:
            if bucket:
                raise _invalid(text, "expected an absolute path", f"write {scheme}:///folder/name")
            check_key(scheme, key, text)
            return cls(scheme, "", key)
        check_bucket(scheme, bucket, text)
        check_key(scheme, key, text)
        return cls(scheme, bucket, key)

    @property
    def is_local(self) -> bool:
        """Whether the key is a path of this machine."""
        return self.scheme in _LOCAL

    @property
    def root(self) -> URI:
        """The bucket, or `file:///`."""
        return URI(self.scheme, self.bucket, "")

    def folder(self) -> URI:
        """Return this place as a prefix: the key is empty or ends in "/"."""
        if not self.key or self.key.endswith("/"):
            return self
        return URI(self.scheme, self.bucket, self.key + "/")

    def join(self, name: str) -> URI:
        """Return the place `name` below this one."""
        key = self.folder().key + name
        check_key(self.scheme, key, f"{self.folder()}{name}")
        return URI(self.scheme, self.bucket, key)

    def covers(self, other: URI) -> bool:
        """Whether `other` lies below this prefix, or is it."""
        return (self.scheme, self.bucket) == (other.scheme, other.bucket) and (
            other.key.startswith(self.folder().key) or other.key == self.key
        )

    def relative_to(self, prefix: URI) -> str:
        """Return the name of this place below `prefix`, such that `prefix.join(name)` is it.

        Raises:
            InvalidUriError: it does not lie below `prefix`.
        """
        folder = prefix.folder()
        if not folder.covers(self):
            raise _invalid(str(self), f"it does not lie below {folder}", None)
        return self.key[len(folder.key) :]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


def is_full(text: str) -> bool:
    """Whether `text` is a URI, not a key below a root: it starts with `scheme://`.

    Raises:
        InvalidUriError: it looks like a URI that went wrong, such as `s3:/x`.
    """
    colon = text.find(":/")
    if colon <= 0:
        return False
    scheme = text[:colon].lower()
    if text.startswith("://", colon):
        return _URI.match(text) is not None
    if scheme in SCHEMES or scheme in _ALIASES:
        raise _invalid(text, "expected `scheme://bucket/key`", _hint_of_form(text))
    return False


def check_bucket(scheme: str, bucket: str, text: str) -> None:
    """Refuse an unknown `scheme` and an impossible `bucket`, both from the URI `text`."""
    rule = _BUCKETS.get(scheme)
    if rule is None:
        raise _invalid(text, f"unknown scheme {scheme!r}", "known schemes: " + ", ".join(SCHEMES))
    if not bucket:
        raise _invalid(text, "the bucket is missing", f"write {scheme}://bucket/key")
    pattern, length = rule
    if pattern.fullmatch(bucket) is None or ".." in bucket:
        hint = f"a bucket name of {scheme} has {length}, digits, dots or hyphens"
        if _CREDENTIALS.search(text):
            hint = "credentials do not belong into a URI; see S3Options"
        elif ":" in bucket:
            hint = "a URI names no host; set the endpoint by option or AWS_ENDPOINT_URL_S3"
        raise _invalid(text, "impossible bucket name", hint)


def check_key(scheme: str, key: str, text: str) -> None:
    """Refuse a `key` that no store may hold; `text` is what the caller wrote."""
    if _REFUSED.search(key):
        reason = "NUL is not allowed" if "\0" in key else 'segments "." and ".." are not allowed'
        raise _invalid(text, reason, None)
    if len(key) <= MAX_KEY_BYTES and key.isascii():
        return
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise _invalid(text, "the key is no valid Unicode text", None) from None
    # Paths have the limit of their file system instead.
    if size > MAX_KEY_BYTES and scheme not in _LOCAL:
        raise _invalid(
            text, f"the key has {size} bytes of UTF-8, at most {MAX_KEY_BYTES} are allowed", None
        )


def _hint_of_form(text: str) -> str | None:
    if text.startswith("/"):
        return f"for a local file write file://{_shown(text)}"
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() in _LOCAL:
        return f"write {scheme.lower()}:///absolute/path"
    if colon and rest.startswith("/"):
        return f"write {scheme}://{_shown(rest.lstrip('/'))}"
    return "known schemes: " + ", ".join(SCHEMES)


def _shown(text: str) -> str:
    """Return `text` printable, without what stands where a password would."""
    return _CREDENTIALS.sub("//***@", text).encode("utf-8", "backslashreplace").decode()


def _invalid(text: str, reason: str, hint: str | None) -> InvalidUriError:
    shown = _shown(text)
    return InvalidUriError(f"invalid URI {shown!r}: {reason}", uri=shown, hint=hint)
