"""MinIO: what the field tests S3 on."""

from __future__ import annotations

from pathlib import Path

from .server import Found, Server, go_program, start_http, temporary_folder


def find_or_install() -> Found:
    return go_program("minio", "github.com/minio/minio")


def start(folder: Path | None = None) -> Server:
    found = find_or_install()
    if found.program is None:
        raise RuntimeError(found.reason)
    program, folder = found.program, folder or temporary_folder("minio")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    access_key, secret_key = "minio-test-key", "minio-test-secret"
    return start_http(
        "minio",
        lambda port: [program, "server", "--quiet", "--address", f"127.0.0.1:{port}",
                      "--console-address", "127.0.0.1:0", "--certs-dir", folder / "certs", folder / "data"],
        folder=folder,
        access_key=access_key,
        secret_key=secret_key,
        probe="/minio/health/ready",
        environment={
            "MINIO_ROOT_USER": access_key,
            "MINIO_ROOT_PASSWORD": secret_key,
            "MINIO_UPDATE": "off",
            "MINIO_BROWSER": "off",
            # The rename of a finished object counts, not that it reached the disk.
            "MINIO_FS_OSYNC": "off",
        },
    )  # fmt: skip
