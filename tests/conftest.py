"""What all tests share: an environment of their own, and stores on the backends that were asked for."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# What the tests share lies in this folder; under importlib mode pytest puts it on no path.
sys.path.insert(0, str(Path(__file__).parent))
# Before anything imports it: the assertions in there shall speak.
pytest.register_assert_rewrite("s3dlio.testing")

# Read before HOME moves: where programs for the tests are kept.
from servers.server import Server  # noqa: E402

FOREIGN = ("AWS_", "S3DLIO_", "GOOGLE_", "AZURE_", "STORAGE_")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_HOME = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        default="moto",
        help="S3 servers to run on, comma separated: moto, minio, versitygw, radosgw, all or none (default: moto)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "frameworks: needs torch or JAX; run by `nox -s frameworks`")
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name.lower() in PROXIES:
            del os.environ[name]
    config.stash[_HOME] = tempfile.mkdtemp(prefix="s3dlio-home-")
    os.environ["HOME"] = config.stash[_HOME]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_HOME], ignore_errors=True)


def pytest_report_header(config: pytest.Config) -> str:
    from backends import takes_direct

    direct = (
        ""
        if takes_direct(Path(tempfile.gettempdir()))
        else "; direct:// reads buffered: no O_DIRECT in the temporary folder"
    )
    return f"servers: {', '.join(_chosen(config)) or 'none'}{direct}"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Installs the servers now: that takes minutes on a new machine, and a test has one."""
    for name in _chosen(session.config):
        found = importlib.import_module(f"servers.{name}").find_or_install()
        session.config.get_terminal_writer().line(f"{name}: {found.program or found.reason}")


def _chosen(config: pytest.Config) -> list[str]:
    from backends import SERVERS

    given = str(config.getoption("--servers"))
    chosen = {"all": list(SERVERS), "none": []}.get(given, given.split(","))
    unknown = [name for name in chosen if name not in SERVERS]
    if unknown:
        raise pytest.UsageError(
            f"--servers: {', '.join(unknown)} unknown; expected {', '.join(SERVERS)}, all or none"
        )
    return chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    from backends import LOCAL

    if "backend" in metafunc.fixturenames:
        metafunc.parametrize(
            "backend", [*LOCAL, *_chosen(metafunc.config)], indirect=True, scope="class"
        )
    if "s3_server" in metafunc.fixturenames:
        metafunc.parametrize("s3_server", _chosen(metafunc.config), indirect=True, scope="class")


@pytest.fixture(scope="session")
def servers() -> Iterator[object]:
    from backends import Servers

    running = Servers()
    yield running
    running.stop()


@pytest.fixture(scope="class")
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a backend; every one that was asked for, in turn."""
    return str(request.param)


@pytest.fixture(scope="class")
def s3_server(request: pytest.FixtureRequest, servers: object) -> Server:
    """An S3 server; every one that was asked for, in turn."""
    from backends import Servers

    assert isinstance(servers, Servers)
    return servers.get(str(request.param))


@pytest.fixture(scope="class")
def make_store(
    backend: str, servers: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., object]]:
    """`make_store(bucket=None, **flat options)`: an empty store on `backend`, another one each time."""
    from backends import Servers, stores_on

    assert isinstance(servers, Servers)
    with stores_on(backend, servers, tmp_path_factory.mktemp(backend)) as make:
        yield make


@pytest.fixture
def store(make_store: Callable[..., object]) -> object:
    return make_store()
