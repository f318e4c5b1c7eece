"""How a store behaves: frozen values, refused when wrong; and the only reader of the environment.

Every number has its unit in its name. A field of `ReadOptions`, `WriteOptions`, `RetryOptions`,
`HttpOptions` or `DirectOptions` is read by `StoreOptions.from_env` from S3DLIO_ and its name in
capitals: `part_bytes` from S3DLIO_PART_BYTES. S3 follows AWS's own variables and files for what
its options leave open; an option given always wins.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

_SECRET = "***"  # noqa: S105 - it is what stands in place of one
_PREFIX = "S3DLIO_"
_CREDENTIAL_NAMES = ("access_key_id", "secret_access_key", "session_token")
_VARIABLES = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for name in (upper, upper.lower())
) | {"HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"}


def whole(name: str, value: object, at_least: int = 0, at_most: int | None = None) -> int:
    """Return `value` as an int between the bounds, or say what is wrong with the argument `name`."""
    if isinstance(value, bool):
        raise TypeError(f"`{name}` must be an integer, got {value}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"`{name}` must be an integer, got {value!r}") from None
    if number < at_least:
        raise ValueError(f"`{name}` must be at least {at_least}, got {number}")
    if at_most is not None and number > at_most:
        raise ValueError(f"`{name}` must be at most {at_most}, got {number}")
    return number


def seconds(name: str, value: object, at_most: float = 86_400.0) -> float:
    """Return `value` as a time above 0, or say what is wrong with the argument `name`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{name}` must be a number of seconds, got {value!r}")
    if not math.isfinite(value) or not 0 < value <= at_most:
        raise ValueError(f"`{name}` must be above 0 and at most {at_most:g} seconds, got {value}")
    return float(value)


def one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a `value` that is none of `choices`."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {listed}, got {value!r}")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")


class _Group:
    """One group of options: shows what differs from its defaults, never a secret."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        shown = (
            f"{part.name}={_redacted(part.name, value)}"
            for part in fields(self)
            if (value := getattr(self, part.name)) != part.default
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    @classmethod
    def _from_env(cls, environ: Mapping[str, str]) -> Self:
        given: dict[str, object] = {}
        for part in fields(cls):
            variable = part.metadata.get("variable", _PREFIX + part.name.upper())
            if variable is None or not environ.get(variable):
                continue
            try:
                given[part.name] = _parsed(str(part.type), environ[variable])
            except ValueError as error:
                message = f"{variable}={_redacted(part.name, environ[variable])}: {error}"
                raise ValueError(message) from None
        try:
            return cls(**given)
        except ValueError as error:
            blamed = [name for name in given if f"`{name}`" in str(error)]
            shown = ", ".join(
                f"{_PREFIX}{name.upper()}={_redacted(name, given[name])}" for name in blamed
            )
            raise ValueError(f"{shown}: {error}") from None


def _parsed(kind: str, text: str) -> object:
    if kind == "bool":
        if text.lower() not in {"1", "true", "0", "false"}:
            raise ValueError("expected 1, true, 0 or false")
        return text.lower() in {"1", "true"}
    if kind.startswith("int"):
        try:
            return int(text)
        except ValueError:
            raise ValueError("expected an integer") from None
    if kind.startswith("float"):
        try:
            return float(text)
        except ValueError:
            raise ValueError("expected a number") from None
    return text


def _redacted(name: str, value: object) -> str:
    if name in _CREDENTIAL_NAMES and value is not None:
        return repr(_SECRET)
    if name in {"proxy", "endpoint"} and isinstance(value, str) and "@" in value:
        scheme, _, rest = value.rpartition("://")
        return repr(f"{scheme}://{_SECRET}@{rest.rpartition('@')[2]}")
    return repr(value)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ReadOptions(_Group):
    """How a store reads.

    >>> ReadOptions(part_bytes=4 * 1024 * 1024)
    ReadOptions(part_bytes=4194304)
    """

    part_bytes: int = 8 * MiB
    """Large objects are read as ranges of this size, and one of unknown size is first asked for as
    much. Long enough that the first byte's delay is small beside it, short enough that a lost
    connection costs little."""
    split_bytes: int = 16 * MiB
    """Reads of a known length are split from here on: two parts, below which splitting only costs."""
    max_in_flight: int = 64
    """Requests in flight for one call. Enough to fill 10 Gbit/s at 50 ms and 1 MiB per request."""
    join_gap_bytes: int = 0
    """`get_ranges` fetches ranges no further apart than this as one. 0 joins nothing, since every
    joined gap is read and thrown away."""
    mmap: bool = False
    """Map local files instead of reading them. Off, since a mapped file that is cut short by
    another process kills the reader."""
    pool_bytes: int | None = None
    """Memory that is kept for the next reads. None lets the core choose by the machine's memory."""

    def __post_init__(self) -> None:
        """Refuse what is impossible."""
        self._set("part_bytes", whole("part_bytes", self.part_bytes, 64 * KiB, 5 * GiB))
        self._set("split_bytes", whole("split_bytes", self.split_bytes, 64 * KiB))
        self._set("max_in_flight", whole("max_in_flight", self.max_in_flight, 1, 65_536))
        self._set("join_gap_bytes", whole("join_gap_bytes", self.join_gap_bytes))
        _flag("mmap", self.mmap)
        if self.pool_bytes is not None:
            self._set("pool_bytes", whole("pool_bytes", self.pool_bytes))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WriteOptions(_Group):
    """How a store writes.

    >>> WriteOptions(put_in_flight=8)
    WriteOptions(put_in_flight=8)
    """

    put_part_bytes: int = 16 * MiB
    """Large objects are written in parts of this size; S3 allows 10 000 of them, so 156 GiB."""
    put_split_bytes: int = 64 * MiB
    """Objects at least this large are written in parts: four, below which one request is cheaper."""
    put_in_flight: int = 4
    """Parts in flight for one object; with their size, the memory that a streamed write holds."""
    sync_files: bool = False
    """Wait for the disk before a local write is done. Off, as the operating system's own tools do."""

    def __post_init__(self) -> None:
        """Refuse what is impossible; S3 takes parts from 5 MiB to 5 GiB."""
        part = whole("put_part_bytes", self.put_part_bytes, 5 * MiB, 5 * GiB)
        self._set("put_part_bytes", part)
        split = whole("put_split_bytes", self.put_split_bytes, 5 * MiB, 5 * GiB)
        self._set("put_split_bytes", split)
        self._set("put_in_flight", whole("put_in_flight", self.put_in_flight, 1, 1024))
        _flag("sync_files", self.sync_files)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RetryOptions(_Group):
    """When a failed request is made again.

    The n-th wait is drawn between 0 and `backoff_seconds` doubled n - 1 times, and is never above
    `backoff_max_seconds`; a service's own Retry-After goes before it.

    >>> RetryOptions(max_attempts=1)
    RetryOptions(max_attempts=1)
    """

    max_attempts: int = 5
    """Tries of one request. Five of them outlast the seconds that a busy service asks for."""
    backoff_seconds: float = 0.1
    """The bound of the first wait: about one round trip."""
    backoff_max_seconds: float = 20.0
    """The bound of any wait: what AWS's own clients use."""
    connect_attempts: int = 3
    """Tries when no connection comes about: few, since a dead endpoint should be named soon."""

    def __post_init__(self) -> None:
        """Refuse what is impossible."""
        self._set("max_attempts", whole("max_attempts", self.max_attempts, 1, 1000))
        self._set("connect_attempts", whole("connect_attempts", self.connect_attempts, 1, 1000))
        self._set("backoff_seconds", seconds("backoff_seconds", self.backoff_seconds))
        self._set("backoff_max_seconds", seconds("backoff_max_seconds", self.backoff_max_seconds))
        if self.backoff_max_seconds < self.backoff_seconds:
            raise ValueError(
                f"`backoff_max_seconds` must be at least `backoff_seconds` "
                f"({self.backoff_seconds:g}), got {self.backoff_max_seconds:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class HttpOptions(_Group):
    """How a store speaks HTTP.

    >>> HttpOptions(proxy="http://user:secret@proxy:3128")
    HttpOptions(proxy='http://***@proxy:3128')
    """

    connect_timeout_seconds: float = 5.0
    """For the TCP and TLS handshake of one connection: two lost packets and their repetition."""
    stall_timeout_seconds: float = 30.0
    """A request that moves no byte for this long is given up. No bound on the whole request, since
    a large object may take hours."""
    ca_bundle: str | None = None
    """A PEM file of the authorities to trust, in place of the system's."""
    proxy: str | None = None
    """Where all requests go. None follows HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."""
    verify_tls: bool = True
    """Refuse servers whose certificate does not hold. Turn off for tests only."""

    def __post_init__(self) -> None:
        """Refuse what is impossible."""
        for name in ("connect_timeout_seconds", "stall_timeout_seconds"):
            self._set(name, seconds(name, getattr(self, name)))
        if self.ca_bundle is not None:
            path = os.fspath(self.ca_bundle)
            if not isinstance(path, str) or not path:
                raise ValueError(f"`ca_bundle` must be the path of a PEM file, got {path!r}")
            self._set("ca_bundle", path)
        if self.proxy is not None:
            _check_url("proxy", self.proxy)
        _flag("verify_tls", self.verify_tls)
        if self.ca_bundle is not None and not self.verify_tls:
            raise ValueError("`ca_bundle` has no use when `verify_tls` is False: give one of them")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class S3Options(_Group):
    """Where an S3 store is, and who is asking. What is None follows AWS's conventions.

    Credentials are looked for in: these options, the environment, the profile, web identity, the
    container's and the instance's metadata. A callable for `credentials` takes no argument and
    returns a mapping or an object with `access_key_id`, `secret_access_key`, and where they apply
    `session_token` and `expires_at` (an aware datetime or seconds since the epoch); it is asked
    again before they expire.

    >>> S3Options(endpoint="http://127.0.0.1:9000", access_key_id="me", secret_access_key="x")
    S3Options(endpoint='http://127.0.0.1:9000', access_key_id='***', secret_access_key='***')
    """

    endpoint: str | None = field(default=None, metadata={"variable": None})
    """Base URL of the service. None: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile, then AWS."""
    region: str | None = field(default=None, metadata={"variable": None})
    """None: AWS_REGION, AWS_DEFAULT_REGION, the profile, then us-east-1."""
    addressing: Literal["auto", "path", "virtual"] | None = None
    """Whether the bucket stands in the path or in the host name. None: the profile, then "auto",
    which is virtual-hosted for AWS and path-style for an endpoint of your own."""
    profile: str | None = field(default=None, metadata={"variable": None})
    """A section of ~/.aws/config and ~/.aws/credentials. None: AWS_PROFILE, then "default"."""
    access_key_id: str | None = field(default=None, metadata={"variable": None})
    secret_access_key: str | None = field(default=None, metadata={"variable": None})
    session_token: str | None = field(default=None, metadata={"variable": None})
    anonymous: bool = False
    """Sign nothing, and look for no credentials."""
    role_arn: str | None = field(default=None, metadata={"variable": None})
    """A role to assume with the credentials found. AWS_ROLE_ARN is for web identity only."""
    credentials: Callable[[], object] | None = field(default=None, metadata={"variable": None})
    """Asked for credentials in place of every other source."""

    def __post_init__(self) -> None:
        """Refuse what is impossible and what contradicts itself."""
        for name in ("region", "profile", "role_arn", *_CREDENTIAL_NAMES):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value):
                got = "an empty one" if value == "" else type(value).__name__
                raise ValueError(f"`{name}` must be a text, got {got}")
        if self.endpoint is not None:
            _check_url("endpoint", self.endpoint)
            self._set("endpoint", self.endpoint.rstrip("/"))
        if self.addressing is not None:
            one_of("addressing", self.addressing, ("auto", "path", "virtual"))
        _flag("anonymous", self.anonymous)
        if self.credentials is not None and not callable(self.credentials):
            got = type(self.credentials).__name__
            raise TypeError(f"`credentials` must be a callable without arguments, got {got}")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("`access_key_id` and `secret_access_key` belong together: give both")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("`session_token` belongs to `access_key_id`: give both")
        sources = ("anonymous", "access_key_id", "credentials", "profile")
        given = [f"`{name}`" for name in sources if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} contradict each other: give one of them")
        if self.anonymous and self.role_arn is not None:
            raise ValueError("`anonymous` and `role_arn` contradict each other: give one of them")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DirectOptions(_Group):
    """How `direct://` treats a file system that refuses O_DIRECT.

    >>> DirectOptions(direct_fallback="buffered")
    DirectOptions(direct_fallback='buffered')
    """

    direct_fallback: Literal["error", "buffered"] = "error"
    """"buffered" reads such files as `file://` does. "error", since who asks for O_DIRECT measures."""

    def __post_init__(self) -> None:
        """Refuse what is impossible."""
        one_of("direct_fallback", self.direct_fallback, ("error", "buffered"))


def _check_url(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be a URL, got {type(value).__name__}")
    scheme, mark, rest = value.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    good = scheme in {"http", "https"} and mark and host.partition(":")[0]
    if not good or any(character.isspace() or character in "?#" for character in value):
        shown = _redacted(name, value)
        raise ValueError(f"`{name}` must be like http://host:port, got {shown}")
    if name == "endpoint" and "@" in rest:
        raise ValueError("`endpoint` must hold no user name; give `access_key_id` and its secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Everything that a store can be told, in groups.

    >>> StoreOptions(read=ReadOptions(max_in_flight=16)).read.max_in_flight
    16
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    write: WriteOptions = field(default_factory=WriteOptions)
    retry: RetryOptions = field(default_factory=RetryOptions)
    http: HttpOptions = field(default_factory=HttpOptions)
    s3: S3Options = field(default_factory=S3Options)
    direct: DirectOptions = field(default_factory=DirectOptions)

    def __post_init__(self) -> None:
        """Refuse a group in the place of another."""
        for name, group in _GROUPS.items():
            value = getattr(self, name)
            if not isinstance(value, group):
                got = type(value).__name__
                raise TypeError(f"`{name}` must be {group.__name__}, got {got}")

    def __repr__(self) -> str:
        shown = (
            f"{name}={value!r}"
            for name, group in _GROUPS.items()
            if (value := getattr(self, name)) != group()
        )
        return f"StoreOptions({', '.join(shown)})"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> StoreOptions:
        """Read the S3DLIO_ variables of `environ`, by default those of this process, as they are now.

        An empty variable counts as absent.

        Raises:
            ValueError: names the variable and its value.

            >>> StoreOptions.from_env({"S3DLIO_MAX_ATTEMPTS": "2"})
            StoreOptions(retry=RetryOptions(max_attempts=2))
        """
        environ = os.environ if environ is None else environ
        groups = {name: group._from_env(environ) for name, group in _GROUPS.items()}
        return cls(**groups)  # type: ignore[arg-type]

    def as_core(self) -> dict[str, object]:
        """Return all groups as one flat dict for the core; `s3dlio.aws` fills what AWS settles."""
        flat = {
            part.name: getattr(group, part.name)
            for group in (getattr(self, name) for name in _GROUPS)
            for part in fields(group)
        }
        flat["addressing"] = self.s3.addressing or "auto"
        return flat


_GROUPS: dict[str, type[_Group]] = {
    "read": ReadOptions,
    "write": WriteOptions,
    "retry": RetryOptions,
    "http": HttpOptions,
    "s3": S3Options,
    "direct": DirectOptions,
}


def environment_snapshot(scheme: str) -> dict[str, str]:
    """Return the variables of this process that matter to a store of `scheme`, as they are now."""
    prefixes = ("S3DLIO_",) if scheme in {"file", "direct", "memory"} else ("S3DLIO_", "AWS_")
    exact = frozenset() if len(prefixes) == 1 else _VARIABLES

    def relevant() -> Iterator[tuple[str, str]]:
        for name in os.environ:
            if name.startswith(prefixes) or name in exact:
                # Another thread may have removed it since.
                value = os.environ.get(name)
                if value is not None:
                    yield name, value

    return dict(relevant())
