"""The one list of commands. CI, pre-commit and people call these and no others.

Nothing is built inside the clone: environments, wheels and Cargo's products lie in the user's cache,
so that a fresh clone starts from what an earlier one has compiled.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import sysconfig
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import nox

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s3dlio"
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SERVERS = ("minio", "versitygw", "radosgw")
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")

nox.needs_version = ">=2025.2.9"
nox.options.envdir = str(CACHE / "nox" / VERSION)
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]


@nox.session
def demo(session: nox.Session) -> None:
    """The README's first command: a release build, and the example on a local folder."""
    start(session)
    with locked(CACHE / "build.lock", session):
        session.install(".[examples]")
    leave_clone(session)
    session.run("python", ROOT / "examples" / "train_from_store.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Every test that needs no framework, and no server but those that pip brings."""
    install_wheel(session, "tests")
    pytest(session, "-m", "not frameworks")


@nox.session
def frameworks(session: nox.Session) -> None:
    """The tests marked `frameworks`, with torch and JAX on the CPU; installs gigabytes."""
    install_wheel(session, "tests", "frameworks")
    pytest(session, "-m", "frameworks")


@nox.session
def servers(session: nox.Session) -> None:
    """Every test that runs on an S3 server, on the real ones found here or built with go; says what it skipped."""
    install_wheel(session, "tests")
    pytest(session, f"--servers={','.join(SERVERS)}", "-k", " or ".join(SERVERS), "-rs")


@nox.session
def rust(session: nox.Session) -> None:
    """Format, lints and unit tests of the core."""
    start(session)
    library = Path(sysconfig.get_config_var("LIBDIR") or "")
    shared = sysconfig.get_config_var("LDLIBRARY") or ""
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        if not (library / shared).exists():
            session.error(
                f"the unit tests link {library / shared}: install Python's development files"
            )
        paths = [str(library), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        session.env["LD_LIBRARY_PATH"] = os.pathsep.join(paths)
    session.run("cargo", "fmt", "--check", external=True)
    session.run(
        "cargo", "clippy", "--locked", "--all-targets", "--", "-D", "warnings", external=True
    )
    found = session.run("cargo", "test", "--locked", "--", "--list", external=True, silent=True)
    if ": test" not in str(found):
        session.error("no test ran")
    session.run("cargo", "test", "--locked", "--", *session.posargs, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, for errors and for layout; `nox -s lint -- --fix` mends what can be mended."""
    start(session)
    install_groups(session, "lint")
    cache = f"--cache-dir={CACHE / 'ruff'}"
    session.run("ruff", "check", cache, *session.posargs, ".")
    session.run("ruff", "format", cache, *([] if "--fix" in session.posargs else ["--check"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict on the package and on the revealed types; the stub against the compiled module."""
    install_wheel(session, "types", clone=True)
    session.run("mypy", "--strict", f"--cache-dir={CACHE / 'mypy'}", "s3dlio", "tests/typing")
    leave_clone(session)
    allowed = ROOT / "tests" / "typing" / "stubtest_allowlist.txt"
    session.run("stubtest", "s3dlio._core", "--allowlist", allowed, "--ignore-unused-allowlist",
                *session.posargs)  # fmt: skip


@nox.session
def docs(session: nox.Session) -> None:
    """The site, with warnings as errors; every code block of it; the example."""
    install_wheel(session, "tests", "docs", clone=True)
    session.run("mkdocs", "build", "--strict", "--quiet", "--site-dir", CACHE / "site")
    leave_clone(session)
    pytest(session, paths=("tests/test_docs.py", "tests/test_examples.py"))


def start(session: nox.Session) -> None:
    """Keeps other clones out of this session's environment, and points Cargo and PyO3 to what is shared."""
    _held.close()
    _held.enter_context(locked(Path(session.virtualenv.location).with_suffix(".lock"), session))
    session.env["XDG_CACHE_HOME"] = str(CACHE.parent)
    session.env["CARGO_TARGET_DIR"] = os.environ.get("CARGO_TARGET_DIR") or str(CACHE / "target")
    # The same for every session: another path would compile PyO3 anew.
    session.env["PYO3_PYTHON"] = os.environ.get("PYO3_PYTHON") or base_python()


def install_groups(session: nox.Session, *groups: str) -> None:
    """Installs dependency groups of pyproject.toml."""
    session.install(*nox.project.dependency_groups(PROJECT, *groups))


def install_wheel(session: nox.Session, *groups: str, clone: bool = False) -> None:
    """Installs `groups`, builds the package without optimisation and installs it; leaves the clone unless told."""
    start(session)
    install_groups(session, *groups)
    session.install(*PROJECT["build-system"]["requires"])
    out = Path(session.virtualenv.location) / "wheel"
    shutil.rmtree(out, ignore_errors=True)
    # Cargo locks its folder until the library is linked, maturin takes the library from there afterwards.
    with locked(CACHE / "build.lock", session):
        session.run("maturin", "build", "--quiet", "--locked", "--profile", "dev",
                    "--interpreter", session.env["PYO3_PYTHON"], "--out", out)  # fmt: skip
    (wheel,) = out.glob("*.whl")
    session.install(f"{wheel}[examples]")
    session.install("--force-reinstall", "--no-deps", wheel)
    if not clone:
        leave_clone(session)


def leave_clone(session: nox.Session) -> None:
    """Goes where `import s3dlio` finds the installed wheel and never the source tree."""
    outside = Path(session.virtualenv.location) / "outside"
    outside.mkdir(exist_ok=True)
    session.chdir(outside)


def pytest(session: nox.Session, *options: str, paths: tuple[str, ...] = ("tests",)) -> None:
    """Runs pytest, by its own program: `python -m pytest` would import the source tree."""
    report = Path(session.virtualenv.location) / "report.xml"
    report.unlink(missing_ok=True)
    chosen = [in_clone(argument) for argument in session.posargs] or [ROOT / path for path in paths]
    if all(str(argument).startswith("-") for argument in chosen):
        chosen += [ROOT / path for path in paths]
    session.run("pytest", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-o", f"cache_dir={CACHE / 'pytest'}",
                f"--junitxml={report}", *options, *chosen)  # fmt: skip
    suites = list(ET.parse(report).iter("testsuite"))  # noqa: S314 - pytest wrote it
    if sum(int(suite.get("tests", 0)) - int(suite.get("skipped", 0)) for suite in suites) < 1:
        session.error("no test ran")


def in_clone(argument: str) -> str:
    """`argument` itself, or the path in the clone that it names."""
    named = ROOT / argument.partition("::")[0]
    return argument if argument.startswith("-") or not named.exists() else str(ROOT / argument)


def base_python() -> str:
    """The interpreter below any virtual environment."""
    program = Path(sys.base_prefix) / "bin" / VERSION
    return str(program) if program.exists() else sys.executable


@contextlib.contextmanager
def locked(path: Path, session: nox.Session) -> Iterator[None]:
    """Waits until no other process holds `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            session.log(f"another nox uses {path}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


_held = contextlib.ExitStack()
