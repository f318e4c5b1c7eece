"""What a `FaultServer` does wrong, and what it saw: two values."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .fault_server import FaultServer

Effect = Callable[["FaultServer", "Request"], None]
"""Called with the server and the request, to change the server's objects."""


@dataclass
class Request:
    """One request as the server received it, and how far its answer went."""

    operation: str
    """The S3 operation: "GetObject", "ListObjectsV2", "UploadPart", …"""
    method: str
    path: str
    """The path as it was sent, still percent-encoded."""
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    received_bytes: int = 0
    """Bytes of the request's body."""
    sent_bytes: int = 0
    """Bytes of the answer's body."""
    status: int = 0
    """The status answered, or 0 when the connection ended before one."""
    arrived: float = field(default_factory=time.monotonic)
    closed: threading.Event = field(default_factory=threading.Event)
    """Set when the client was seen to close the connection before it had its answer."""

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("range")

    @property
    def access_key(self) -> str | None:
        """The key id that signed the request, from the header or the query; None when it is anonymous."""
        credential = self.query.get("X-Amz-Credential")
        if credential is None:
            _, found, rest = self.headers.get("authorization", "").partition("Credential=")
            credential = rest if found else None
        return credential.split("/", 1)[0] if credential else None


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong with an answer; the class methods name the usual ones."""

    status: int | None = None
    """Answer this status with an XML error instead of the result."""
    code: str = ""
    message: str = "scripted fault"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to the answer; a name that the answer has already is replaced."""
    receive_bytes: int | None = None
    """Reset the connection after this many bytes of the request's body."""
    send_bytes: int | None = None
    """End the answer's body after this many bytes, as `ending` says."""
    ending: Literal["close", "reset", "stall"] = "close"
    silent: bool = False
    """End the connection, as `ending` says, before the status line."""
    bytes_per_second: float | None = None
    delay_seconds: float = 0.0
    ignores_range: bool = False
    length_error: int = 0
    """Added to the Content-Length of the answer."""
    chunked: bool = False
    """Send the body with Transfer-Encoding: chunked and without a length."""
    inside_ok: bool = False
    """Answer 200, and the error `code` in its body."""
    before: Effect | None = None
    after: Effect | None = None

    @classmethod
    def answer(
        cls, status: int, code: str = "", *, retry_after: float | None = None, message: str = ""
    ) -> Fault:
        """The error `status` with the S3 `code`, and a Retry-After of `retry_after` seconds."""
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        return cls(status=status, code=code, message=message or "scripted fault", headers=headers)

    @classmethod
    def expired_token(cls) -> Fault:
        return cls.answer(400, "ExpiredToken", message="The provided token has expired.")

    @classmethod
    def access_denied(cls) -> Fault:
        return cls.answer(403, "AccessDenied", message="Access Denied")

    @classmethod
    def unauthorized(cls) -> Fault:
        return cls.answer(401, "Unauthorized", message="Credentials are needed")

    @classmethod
    def quota_exceeded(cls) -> Fault:
        return cls.answer(403, "QuotaExceeded", message="The quota of the bucket is used up")

    @classmethod
    def slow_down(cls, retry_after: float | None = None) -> Fault:
        return cls.answer(
            503, "SlowDown", retry_after=retry_after, message="Please reduce your request rate."
        )

    @classmethod
    def redirect(cls, region: str, status: int = 301, location: str | None = None) -> Fault:
        """The bucket lies in `region`: 301 PermanentRedirect or 307 TemporaryRedirect."""
        code = "PermanentRedirect" if status == 301 else "TemporaryRedirect"
        headers = {"x-amz-bucket-region": region} | ({"Location": location} if location else {})
        return cls(status=status, code=code, headers=headers)

    @classmethod
    def reset(cls, at: int | None = None) -> Fault:
        """A TCP reset after `at` bytes of the body, or before any answer."""
        return cls(send_bytes=at, silent=at is None, ending="reset")

    @classmethod
    def reset_upload(cls, at: int) -> Fault:
        """A TCP reset after `at` bytes of the request's body were read."""
        return cls(receive_bytes=at, ending="reset")

    @classmethod
    def truncate(cls, at: int) -> Fault:
        """An orderly close after `at` bytes of a longer body."""
        return cls(send_bytes=at, ending="close")

    @classmethod
    def stall(cls, at: int | None = None) -> Fault:
        """Silence after `at` bytes of the body, or before any answer, until the client or the server closes."""
        return cls(send_bytes=at, silent=at is None, ending="stall")

    @classmethod
    def slow(cls, bytes_per_second: float) -> Fault:
        return cls(bytes_per_second=bytes_per_second)

    @classmethod
    def late(cls, seconds: float) -> Fault:
        """The right answer, `seconds` later."""
        return cls(delay_seconds=seconds)

    @classmethod
    def ignore_range(cls) -> Fault:
        """200 and the whole object, whatever range was asked for."""
        return cls(ignores_range=True)

    @classmethod
    def wrong_length(cls, error: int) -> Fault:
        """A Content-Length that is `error` bytes off the body."""
        return cls(length_error=error)

    @classmethod
    def in_chunks(cls) -> Fault:
        return cls(chunked=True)

    @classmethod
    def error_inside_ok(cls, code: str = "InternalError") -> Fault:
        """200 with an error in the body, as S3 may answer CompleteMultipartUpload and CopyObject."""
        return cls(code=code, inside_ok=True)

    @classmethod
    def overwritten(cls, data: bytes) -> Fault:
        """The right answer; after it the object holds `data` and has another etag."""

        def overwrite(server: FaultServer, request: Request) -> None:
            server.store(request.bucket, request.key, data)

        return cls(after=overwrite)


@dataclass
class Rule:
    """Which requests a fault is for, and for how many more of them."""

    fault: Fault
    times: int | None
    skip: int
    operation: str | None
    method: str | None
    key: str | None

    def takes(self, request: Request) -> bool:
        """Whether `request` gets the fault; counts it if so."""
        if self.times == 0:
            return False
        for wanted, given in (
            (self.operation, request.operation),
            (self.method, request.method),
            (self.key, request.key),
        ):
            if wanted is not None and wanted != given:
                return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True
