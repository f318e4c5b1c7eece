"""versitygw: S3 over a folder of files."""

from __future__ import annotations

import os
from pathlib import Path

from .server import Found, Server, go_program, start_http, temporary_folder


def find_or_install() -> Found:
    return go_program("versitygw", "github.com/versity/versitygw/cmd/versitygw")


def start(folder: Path | None = None) -> Server:
    found = find_or_install()
    if found.program is None:
        raise RuntimeError(found.reason)
    program, folder = found.program, folder or temporary_folder("versitygw")
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    # Metadata lives in extended attributes; a filesystem without them gets a folder beside the data.
    metadata = [] if _has_attributes(data) else ["--sidecar", folder / "metadata"]
    for option in metadata[1:]:
        Path(option).mkdir(exist_ok=True)
    access_key, secret_key = "versity-test-key", "versity-test-secret"
    return start_http(
        "versitygw",
        lambda port: [program, "--port", f"127.0.0.1:{port}", "--access", access_key, "--secret", secret_key,
                      "--region", "us-east-1", "--quiet", "--health", "/health", "posix", *metadata, data],
        folder=folder,
        access_key=access_key,
        secret_key=secret_key,
        probe="/health",
    )  # fmt: skip


def _has_attributes(folder: Path) -> bool:
    try:
        os.setxattr(folder, "user.s3dlio", b"1")
        os.removexattr(folder, "user.s3dlio")
    except OSError:
        return False
    return True
