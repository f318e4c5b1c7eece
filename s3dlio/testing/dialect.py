"""As much of S3 as the fault server speaks: a request in, an answer out, over a dict of objects."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from .fault import Request

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True)
class StoredObject:
    data: bytes
    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    modified: float = field(default_factory=time.time)
    version: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def etag(self) -> str:
        """Differs between any two writes, so that a splice of two versions with equal bytes shows too."""
        return f'"{self.version}"'


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


def error_xml(code: str, message: str, request_id: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message><RequestId>{request_id}</RequestId></Error>"
    ).encode()


def operation(
    method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> str:
    """The name that S3 gives to this request."""
    if not bucket:
        return "ListBuckets"
    if not key:
        if method == "POST" and "delete" in query:
            return "DeleteObjects"
        if method == "GET":
            return "GetBucketLocation" if "location" in query else "ListObjectsV2"
        return {"PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"}.get(
            method, method
        )
    if method == "POST":
        return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
    if "uploadId" in query:
        return {"PUT": "UploadPart", "DELETE": "AbortMultipartUpload", "GET": "ListParts"}.get(
            method, method
        )
    if method == "PUT" and "x-amz-copy-source" in headers:
        return "CopyObject"
    return {
        "GET": "GetObject",
        "HEAD": "HeadObject",
        "PUT": "PutObject",
        "DELETE": "DeleteObject",
    }.get(method, method)


class Objects:
    """Buckets of objects in memory; one lock around every operation."""

    def __init__(self, page_keys: int = 1000) -> None:
        self.buckets: dict[str, dict[str, StoredObject]] = {}
        self.uploads: dict[str, tuple[str, str, StoredObject, dict[int, bytes]]] = {}
        self.page_keys = page_keys
        self.lock = threading.RLock()

    def answer(self, request: Request, body: bytes, *, ignore_range: bool = False) -> Answer:
        """Raises `Refusal` for what S3 answers with an error."""
        with self.lock:
            if request.operation == "ListBuckets":
                return self._list_buckets()
            if request.operation == "CreateBucket":
                if request.bucket in self.buckets:
                    raise Refusal(409, "BucketAlreadyOwnedByYou")
                self.buckets[request.bucket] = {}
                return Answer(200)
            objects = self.buckets.get(request.bucket)
            if objects is None:
                raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
            do = getattr(
                self, "_" + re.sub(r"(?<!^)([A-Z])", r"_\1", request.operation).lower(), None
            )
            if do is None:
                raise Refusal(501, "NotImplemented")
            if request.operation == "GetObject" and ignore_range:
                request = Request(
                    **{
                        **request.__dict__,
                        "headers": {k: v for k, v in request.headers.items() if k != "range"},
                    }
                )
            result: Answer = do(request, objects, body)
            return result

    def _list_buckets(self) -> Answer:
        rows = "".join(
            f"<Bucket><Name>{escape(name)}</Name><CreationDate>2024-01-01T00:00:00.000Z</CreationDate></Bucket>"
            for name in sorted(self.buckets)
        )
        return _xml("ListAllMyBucketsResult", f"<Buckets>{rows}</Buckets>")

    def _head_bucket(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        return Answer(200)

    def _get_bucket_location(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        return _xml("LocationConstraint", "")

    def _delete_bucket(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        if objects:
            raise Refusal(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
        del self.buckets[request.bucket]
        return Answer(204)

    def _list_objects_v2(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        query = request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("start-after", "")
        if token := query.get("continuation-token"):
            after = base64.urlsafe_b64decode(token).decode()
        limit = min(int(query.get("max-keys", self.page_keys)), self.page_keys)
        write = quote if query.get("encoding-type") == "url" else escape
        rows: list[str] = []
        last, more = "", False
        for key in sorted(objects, key=str.encode):
            if not key.startswith(prefix):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if cut < 0 else key[: cut + len(delimiter)]
            if name == last or name.encode() <= after.encode():
                continue
            if len(rows) == limit:
                more = True
                break
            last = name
            if cut < 0:
                found = objects[key]
                rows.append(
                    f"<Contents><Key>{write(key)}</Key><LastModified>{_time(found.modified)}</LastModified>"
                    f"<ETag>{escape(found.etag)}</ETag><Size>{len(found.data)}</Size>"
                    "<StorageClass>STANDARD</StorageClass></Contents>"
                )
            else:
                rows.append(f"<CommonPrefixes><Prefix>{write(name)}</Prefix></CommonPrefixes>")
        token = base64.urlsafe_b64encode(last.encode()).decode()
        return _xml(
            "ListBucketResult",
            f"<Name>{escape(request.bucket)}</Name><Prefix>{write(prefix)}</Prefix><KeyCount>{len(rows)}</KeyCount>"
            f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
            + (f"<NextContinuationToken>{token}</NextContinuationToken>" if more else "")
            + ("<EncodingType>url</EncodingType>" if write is quote else "")
            + "".join(rows),
        )

    def _delete_objects(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        rows = []
        for key in _texts(body, "Object", "Key"):
            objects.pop(key, None)
            rows.append(f"<Deleted><Key>{escape(key)}</Key></Deleted>")
        return _xml("DeleteResult", "".join(rows))

    def _get_object(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        found = _found(objects, request.key)
        _read_conditions(request, found)
        headers, size = _describe(found), len(found.data)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.range or "")
        if asked is None or asked.groups() == ("", ""):
            return Answer(200, found.data, headers)
        first, last = asked.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= size or stop <= start:
            raise Refusal(416, "InvalidRange", "The requested range is not satisfiable")
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Answer(206, found.data[start:stop], headers)

    def _head_object(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        found = _found(objects, request.key)
        _read_conditions(request, found)
        return Answer(200, found.data, _describe(found))

    def _put_object(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        _write_conditions(request, objects)
        stored = _new(request, body)
        objects[request.key] = stored
        return Answer(200, b"", {"ETag": stored.etag})

    def _delete_object(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        objects.pop(request.key, None)
        return Answer(204)

    def _copy_object(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        bucket, _, key = unquote(request.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        source = _found(self.buckets.get(bucket, {}), key)
        copied = StoredObject(source.data, source.content_type, source.metadata)
        objects[request.key] = copied
        return _xml(
            "CopyObjectResult",
            f"<LastModified>{_time(copied.modified)}</LastModified><ETag>{escape(copied.etag)}</ETag>",
        )

    def _create_multipart_upload(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        upload = uuid.uuid4().hex
        self.uploads[upload] = (request.bucket, request.key, _new(request, b""), {})
        return _xml(
            "InitiateMultipartUploadResult",
            f"<Bucket>{escape(request.bucket)}</Bucket><Key>{escape(request.key)}</Key><UploadId>{upload}</UploadId>",
        )

    def _parts(self, request: Request) -> dict[int, bytes]:
        if request.query["uploadId"] not in self.uploads:
            raise Refusal(404, "NoSuchUpload")
        return self.uploads[request.query["uploadId"]][3]

    def _upload_part(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        self._parts(request)[int(request.query["partNumber"])] = body
        return Answer(200, b"", {"ETag": _part_etag(body)})

    def _abort_multipart_upload(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        self._parts(request)
        del self.uploads[request.query["uploadId"]]
        return Answer(204)

    def _complete_multipart_upload(
        self, request: Request, objects: dict[str, StoredObject], body: bytes
    ) -> Answer:
        parts = self._parts(request)
        named = list(
            zip(
                map(int, _texts(body, "Part", "PartNumber")),
                _texts(body, "Part", "ETag"),
                strict=True,
            )
        )
        if not named or any(
            number not in parts or _part_etag(parts[number]) != etag for number, etag in named
        ):
            raise Refusal(400, "InvalidPart")
        _write_conditions(request, objects)
        *_, opened, _ = self.uploads.pop(request.query["uploadId"])
        stored = StoredObject(
            b"".join(parts[number] for number, _ in named), opened.content_type, opened.metadata
        )
        objects[request.key] = stored
        return _xml(
            "CompleteMultipartUploadResult",
            f"<Bucket>{escape(request.bucket)}</Bucket><Key>{escape(request.key)}</Key><ETag>{escape(stored.etag)}</ETag>",
        )


def _xml(name: str, inner: str) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?><{name} xmlns="{NAMESPACE}">{inner}</{name}>'
    return Answer(200, text.encode(), {"Content-Type": "application/xml"})


def _texts(body: bytes, parent: str, child: str) -> Iterable[str]:
    for node in ET.fromstring(body).iter():
        if node.tag.rpartition("}")[2] == parent:
            for inner in node:
                if inner.tag.rpartition("}")[2] == child:
                    yield inner.text or ""


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def _part_etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _new(request: Request, data: bytes) -> StoredObject:
    start = "x-amz-meta-"
    metadata = {
        name[len(start) :]: value
        for name, value in request.headers.items()
        if name.startswith(start)
    }
    return StoredObject(data, request.headers.get("content-type", "binary/octet-stream"), metadata)


def _found(objects: Mapping[str, StoredObject], key: str) -> StoredObject:
    if key not in objects:
        raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
    return objects[key]


def _describe(found: StoredObject) -> dict[str, str]:
    return {
        "ETag": found.etag,
        "Last-Modified": formatdate(found.modified, usegmt=True),
        "Content-Type": found.content_type,
        "Accept-Ranges": "bytes",
    } | {f"x-amz-meta-{name}": value for name, value in found.metadata.items()}


def _read_conditions(request: Request, found: StoredObject) -> None:
    wanted, unwanted = request.headers.get("if-match"), request.headers.get("if-none-match")
    if wanted is not None and wanted.strip('"') not in ("*", found.version):
        raise Refusal(
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
    if unwanted is not None and unwanted.strip('"') in ("*", found.version):
        raise Refusal(304, "NotModified")


def _write_conditions(request: Request, objects: Mapping[str, StoredObject]) -> None:
    there = objects.get(request.key)
    wanted = request.headers.get("if-match")
    held = wanted is None or (there is not None and wanted.strip('"') in ("*", there.version))
    if request.headers.get("if-none-match") == "*" and there is not None:
        held = False
    if not held:
        raise Refusal(
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
