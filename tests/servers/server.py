"""A server that was started here, and how it is found, awaited and stopped."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
# Read before the tests move HOME to a temporary folder.
PROGRAMS_FOLDER = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s3dlio" / "bin"
)
HOME = os.environ.get("HOME", "/")


class StartError(RuntimeError):
    """A server did not come up; the text holds the end of its log."""


@dataclass(frozen=True)
class Found:
    """Where a server's program lies, or why there is none."""

    program: str | None
    reason: str = ""

    def __bool__(self) -> bool:
        return self.program is not None


@dataclass
class Server:
    """An endpoint, its keys, and the child processes that are behind it, in the order of their start."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    region: str
    folder: Path
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The process that answers requests."""
        return self.children[-1].pid

    def stop(self) -> None:
        """Stops the children, the last first, and removes the folder."""
        for child in reversed(self.children):
            stop(child)
        self.children.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def temporary_folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"s3dlio-{name}-"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def spawn(
    arguments: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a child whose output goes to `log`; `environment` is added to PATH and HOME only."""
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=base | dict(environment or {}),
        )


def stop(child: subprocess.Popen[bytes]) -> None:
    """Ends `child` by its own process id."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def answers(url: str, statuses: Callable[[int], bool] = lambda status: status < 500) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    with suppress(OSError, http.client.HTTPException):
        try:
            connection.request("GET", parts.path or "/")
            return statuses(connection.getresponse().status)
        finally:
            connection.close()
    return False


def wait_until(
    ready: Callable[[], bool],
    children: Sequence[subprocess.Popen[bytes]],
    log: Path,
    seconds: float = READY_SECONDS,
) -> None:
    """Returns when `ready()` holds; raises `StartError` when a child ends or `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while not ready():
        gone = [child for child in children if child.poll() is not None]
        if gone or time.monotonic() > deadline:
            why = (
                f"{gone[0].args} ended with {gone[0].returncode}"
                if gone
                else f"not ready after {seconds} s"
            )
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise StartError(f"{why}\n{tail}")
        time.sleep(0.05)


def start_http(
    name: str,
    command: Callable[[int], Sequence[str | Path]],
    *,
    folder: Path,
    access_key: str,
    secret_key: str,
    region: str = "us-east-1",
    probe: str = "/",
    environment: Mapping[str, str] | None = None,
    tries: int = 3,
) -> Server:
    """Starts one child that serves HTTP on a free port; another port is tried when that one was taken meanwhile."""
    log = folder / f"{name}.log"
    for attempt in range(1, tries + 1):
        port = free_port()
        child = spawn(command(port), log, environment)
        endpoint = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda url=endpoint + probe: answers(url), [child], log)  # type: ignore[misc]
        except StartError:
            stop(child)
            if attempt == tries:
                raise
        except BaseException:
            stop(child)
            raise
        else:
            return Server(name, endpoint, access_key, secret_key, region, folder, [child])
    raise AssertionError("unreachable")


def go_program(name: str, module: str) -> Found:
    """A program in the user's cache or on the path; else `go install`ed into that cache."""
    cache = PROGRAMS_FOLDER
    for place in (shutil.which(name), str(cache / name)):
        if place and os.access(place, os.X_OK):
            return Found(place)
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return Found(None, f"{name} is not installed, and neither is go to install it")
    cache.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, HOME=HOME, GOBIN=str(cache), GOFLAGS="-modcacherw")
    try:
        done = subprocess.run(
            [go, "install", f"{module}@latest"],
            env=environment,
            capture_output=True,
            timeout=1800,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Found(None, f"go install {module} failed: {error}")
    if done.returncode != 0:
        return Found(
            None, f"go install {module} failed: {done.stderr.decode(errors='replace')[-500:]}"
        )
    return Found(str(cache / name))
