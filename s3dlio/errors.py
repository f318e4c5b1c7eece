"""Everything that s3dlio raises about objects and stores.

    S3dlioError                    kind unexpected; the base of all others
    ├── NotFoundError              also FileNotFoundError
    ├── AlreadyExistsError         also FileExistsError
    ├── PermissionDeniedError      also PermissionError
    ├── AuthenticationError        credentials are missing, wrong or expired
    ├── PreconditionFailedError    the etag or generation did not match
    ├── RangeError                 also ValueError
    ├── InvalidUriError            also ValueError
    ├── RateLimitedError           throttled, after the retries
    ├── QuotaExceededError
    ├── TimeoutError               also builtins.TimeoutError
    ├── ConnectionError            also builtins.ConnectionError: refused, reset, DNS, TLS
    ├── IntegrityError             short body, checksum, part count, size after upload
    ├── UnsupportedError           also NotImplementedError: this backend cannot
    └── ManyError                  an ExceptionGroup with results and failures by index

An impossible argument or option is a plain `ValueError` or `TypeError`, raised at the call.
"""

from __future__ import annotations

import builtins
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ErrorKind(StrEnum):
    """The stable name of what went wrong. Names are added, never changed."""

    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    PERMISSION_DENIED = "permission_denied"
    AUTHENTICATION = "authentication"
    PRECONDITION_FAILED = "precondition_failed"
    RANGE = "range"
    INVALID_URI = "invalid_uri"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    INTEGRITY = "integrity"
    UNSUPPORTED = "unsupported"
    INVALID_ARGUMENT = "invalid_argument"
    UNEXPECTED = "unexpected"
    MANY = "many"


class S3dlioError(Exception):
    """Base of every error about an object or a store.

    Attributes:
        kind: the stable name of what went wrong.
        uri: the object, as the caller wrote it.
        status: the HTTP status of the last answer, if there was one.
        code: the service's own code, such as `NoSuchKey`.
        request_id: the service's name for the last request.
        attempts: how often the request was made.
        retryable: the same call may succeed if it is made again.
        hint: what to do about it; stands on its own line in the text.

        >>> error = NotFoundError("no such object", uri="s3://b/k", hint="check the key")
        >>> print(error)
        no such object
        hint: check the key
        >>> error.kind
        <ErrorKind.NOT_FOUND: 'not_found'>
    """

    kind_of_class: ClassVar[ErrorKind] = ErrorKind.UNEXPECTED

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind | str | None = None,
        uri: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        attempts: int = 1,
        retryable: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = self.kind_of_class if kind is None else ErrorKind(kind)
        self.uri = uri
        self.status = status
        self.code = code
        self.request_id = request_id
        self.attempts = attempts
        self.retryable = retryable
        self.hint = hint

    @property
    def message(self) -> str:
        """What failed and why, without the hint."""
        return str(self.args[0])

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The attributes travel as state: the constructors of builtin bases take positions only.
        return type(self), (self.message,), self.__dict__.copy()


class NotFoundError(S3dlioError, FileNotFoundError):
    """There is no such object or bucket."""

    kind_of_class = ErrorKind.NOT_FOUND


class AlreadyExistsError(S3dlioError, FileExistsError):
    """There is such an object or bucket already."""

    kind_of_class = ErrorKind.ALREADY_EXISTS


class PermissionDeniedError(S3dlioError, PermissionError):
    """The credentials are good and do not allow this."""

    kind_of_class = ErrorKind.PERMISSION_DENIED


class AuthenticationError(S3dlioError):
    """Credentials are missing, wrong or expired."""

    kind_of_class = ErrorKind.AUTHENTICATION


class PreconditionFailedError(S3dlioError):
    """The object is not the version that was asked for."""

    kind_of_class = ErrorKind.PRECONDITION_FAILED


class RangeError(S3dlioError, ValueError):
    """The range starts at or past the end of the object, or does not fit its place."""

    kind_of_class = ErrorKind.RANGE


class InvalidUriError(S3dlioError, ValueError):
    """The text is no URI, or the key no key, of a store."""

    kind_of_class = ErrorKind.INVALID_URI


class RateLimitedError(S3dlioError):
    """The service asked to go slower, and still did after the retries."""

    kind_of_class = ErrorKind.RATE_LIMITED


class QuotaExceededError(S3dlioError):
    """The account, the bucket or the disk is full."""

    kind_of_class = ErrorKind.QUOTA_EXCEEDED


class TimeoutError(S3dlioError, builtins.TimeoutError):
    """No byte arrived for as long as the options allow."""

    kind_of_class = ErrorKind.TIMEOUT


class ConnectionError(S3dlioError, builtins.ConnectionError):
    """The service could not be reached: refused, reset, name not found, TLS."""

    kind_of_class = ErrorKind.CONNECTION


class IntegrityError(S3dlioError):
    """The bytes are not those that were promised."""

    kind_of_class = ErrorKind.INTEGRITY


class UnsupportedError(S3dlioError, NotImplementedError):
    """This backend cannot do that."""

    kind_of_class = ErrorKind.UNSUPPORTED


class ManyError(S3dlioError, ExceptionGroup[Exception]):
    """Some of many objects failed; `except*` sees each failure.

    Attributes:
        failures: the error of each input that failed, by the index of that input.
        results: one entry per input, None where it failed.

        >>> many = ManyError("1 of 2 failed", {1: NotFoundError("gone")}, [b"x", None])
        >>> many.failures[1].kind
        <ErrorKind.NOT_FOUND: 'not_found'>
    """

    kind_of_class = ErrorKind.MANY

    failures: dict[int, Exception]
    results: list[Any]

    def __new__(
        cls,
        message: str,
        failures: Mapping[int, Exception],
        results: Sequence[Any] = (),
    ) -> Self:
        """Make the group of the values of `failures`."""
        return super().__new__(cls, message, list(failures.values()))

    def __init__(
        self,
        message: str,
        failures: Mapping[int, Exception],
        results: Sequence[Any] = (),
    ) -> None:
        S3dlioError.__init__(self, message)
        self.failures = dict(failures)
        self.results = list(results)

    def derive(self, excs: Sequence[Exception], /) -> ManyError:  # type: ignore[override]
        """Return the same error about `excs` only; indices and results stay."""
        kept = {
            index: error
            for index, error in self.failures.items()
            if any(error is chosen for chosen in excs)
        }
        # `split` may hand over errors that were nested deeper than one level.
        for error in excs:
            if not any(error is known for known in kept.values()):
                kept[-1 - len(kept)] = error
        return ManyError(self.message, kept, self.results)

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            type(self),
            (self.message, self.failures, self.results),
            self.__dict__.copy(),
        )
