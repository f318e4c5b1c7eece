"""moto_server: S3 in one Python process; slow, and it checks no signature."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from .server import Found, Server, start_http, temporary_folder


def find_or_install() -> Found:
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        return Found(None, "moto is not installed: pip install 'moto[server]'")
    return Found(sys.executable)


def start(folder: Path | None = None) -> Server:
    found = find_or_install()
    if found.program is None:
        raise RuntimeError(found.reason)
    program, folder = found.program, folder or temporary_folder("moto")
    folder.mkdir(parents=True, exist_ok=True)
    return start_http(
        "moto",
        lambda port: [
            program,
            "-W",
            "ignore",
            "-m",
            "moto.server",
            "-H",
            "127.0.0.1",
            "-p",
            str(port),
        ],
        folder=folder,
        access_key="moto-test-key",
        secret_key="moto-test-secret",
        probe="/moto-api/",
        # moto itself signs nothing; boto3 inside it must not look for keys.
        environment={
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "TMPDIR": str(folder),
        },
    )
