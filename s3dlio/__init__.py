"""A URI goes in, a tensor comes out: object storage for people who train models.

    >>> import s3dlio
    >>> info = s3dlio.put("memory://train/a", b"0123456789")
    >>> int(s3dlio.get("memory://train/a").numpy().sum())
    525

The verbs work on full URIs, each with a twin that ends in `_async`; `Store` has the same verbs
below one root, with options of your own.
"""

try:
    import s3dlio._core as _core  # noqa: F401, PLR0402 - names what is missing
except ModuleNotFoundError as error:
    if error.name != "s3dlio._core":
        raise
    raise ImportError(
        "s3dlio's compiled core is not here: Python found the source tree before the installed "
        "package; run from another folder, or build the core into the tree with `maturin develop`"
    ) from None

from s3dlio._core import Buffer, Listing
from s3dlio._core import __version__ as __version__
from s3dlio.errors import (
    AlreadyExistsError,
    AuthenticationError,
    ErrorKind,
    IntegrityError,
    InvalidUriError,
    ManyError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    QuotaExceededError,
    RangeError,
    RateLimitedError,
    S3dlioError,
    UnsupportedError,
)
from s3dlio.errors import (
    ConnectionError as ConnectionError,
)
from s3dlio.errors import (
    TimeoutError as TimeoutError,
)
from s3dlio.info import ObjectInfo
from s3dlio.options import (
    DirectOptions,
    HttpOptions,
    ReadOptions,
    RetryOptions,
    S3Options,
    StoreOptions,
    WriteOptions,
)
from s3dlio.store import Store
from s3dlio.transfer import (
    TransferReport,
    download,
    download_async,
    upload,
    upload_async,
)
from s3dlio.uri import URI
from s3dlio.verbs import (
    copy,
    copy_async,
    create_bucket,
    create_bucket_async,
    delete,
    delete_async,
    delete_bucket,
    delete_bucket_async,
    delete_many,
    delete_many_async,
    delete_prefix,
    delete_prefix_async,
    exists,
    exists_async,
    get,
    get_async,
    get_into,
    get_into_async,
    get_many,
    get_many_async,
    get_many_into,
    get_many_into_async,
    get_range,
    get_range_async,
    get_ranges,
    get_ranges_async,
    iter_list,
    iter_list_async,
    iter_many,
    iter_many_async,
    list_async,
    list_buckets,
    list_buckets_async,
    move,
    move_async,
    open_async,
    presign,
    presign_async,
    put,
    put_async,
    put_bytes,
    put_many,
    put_many_async,
    stat,
    stat_async,
)
from s3dlio.verbs import (
    list as list,
)
from s3dlio.verbs import (
    open as open,
)

# Left out, though public: `list`, `open`, `ConnectionError` and `TimeoutError`, so that
# `from s3dlio import *` takes no builtin away. A type checker needs the list written out.
__all__ = [
    "URI",
    "AlreadyExistsError",
    "AuthenticationError",
    "Buffer",
    "DirectOptions",
    "ErrorKind",
    "HttpOptions",
    "IntegrityError",
    "InvalidUriError",
    "Listing",
    "ManyError",
    "NotFoundError",
    "ObjectInfo",
    "PermissionDeniedError",
    "PreconditionFailedError",
    "QuotaExceededError",
    "RangeError",
    "RateLimitedError",
    "ReadOptions",
    "RetryOptions",
    "S3Options",
    "S3dlioError",
    "Store",
    "StoreOptions",
    "TransferReport",
    "UnsupportedError",
    "WriteOptions",
    "copy",
    "copy_async",
    "create_bucket",
    "create_bucket_async",
    "delete",
    "delete_async",
    "delete_bucket",
    "delete_bucket_async",
    "delete_many",
    "delete_many_async",
    "delete_prefix",
    "delete_prefix_async",
    "download",
    "download_async",
    "exists",
    "exists_async",
    "get",
    "get_async",
    "get_into",
    "get_into_async",
    "get_many",
    "get_many_async",
    "get_many_into",
    "get_many_into_async",
    "get_range",
    "get_range_async",
    "get_ranges",
    "get_ranges_async",
    "iter_list",
    "iter_list_async",
    "iter_many",
    "iter_many_async",
    "list_async",
    "list_buckets",
    "list_buckets_async",
    "move",
    "move_async",
    "open_async",
    "presign",
    "presign_async",
    "put",
    "put_async",
    "put_bytes",
    "put_many",
    "put_many_async",
    "stat",
    "stat_async",
    "upload",
    "upload_async",
]
