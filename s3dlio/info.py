"""What a store says of one object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo(Mapping[str, Any]):
    """One object as it was when the store was asked; also a mapping of its field names.

    >>> info = ObjectInfo(uri="s3://train/a.npy", size=128, etag='"9a0364b9"')
    >>> info.size, info["size"]
    (128, 128)
    """

    uri: str
    size: int = 0
    """Bytes. 0 for a prefix or a bucket."""
    etag: str | None = None
    """Changes when the object changes; with its quotes, as the service gives it."""
    version: str | None = None
    """The service's name for this version, where versions are kept."""
    modified: float | None = None
    """Seconds since the epoch; of a bucket, when it was created."""
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What the writer attached. Listings do not carry it."""
    is_prefix: bool = False
    """It stands for what lies below it: a folder or a bucket."""

    @property
    def modified_at(self) -> datetime | None:
        """`modified` as a time of UTC."""
        return None if self.modified is None else datetime.fromtimestamp(self.modified, UTC)

    def __getitem__(self, name: str) -> Any:
        if name in _NAMES:
            return getattr(self, name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


_NAMES = tuple(field.name for field in fields(ObjectInfo))
