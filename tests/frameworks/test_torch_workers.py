"""torch's DataLoader workers read through s3dlio, however they were started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from s3dlio.testing import FaultServer

pytestmark = pytest.mark.frameworks

# In a process of its own: a worker that hangs is a timeout here, and takes nothing else along.
SCRIPT = """
import sys
import torch
import s3dlio

URI = sys.argv[1]

class Objects(torch.utils.data.Dataset):
    def __init__(self, store):
        self.store = store
        self.uris = list(store.list(""))

    def __len__(self):
        return len(self.uris)

    def __getitem__(self, index):
        tensor = torch.from_dlpack(s3dlio.get(self.uris[index]))
        assert bytes(self.store.get(self.uris[index])) == bytes(tensor.numpy())
        return tensor

if __name__ == "__main__":
    dataset = Objects(s3dlio.Store(URI))
    assert len(dataset[0]) == 4
    for persistent in (False, True):
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=8, num_workers=2, multiprocessing_context=sys.argv[2],
            persistent_workers=persistent, timeout=20,
        )
        for _ in range(2):
            batches = list(loader)
            seen = sorted(int.from_bytes(bytes(row.numpy()), "big") for batch in batches for row in batch)
            assert seen == list(range(64)), seen
    assert len(dataset[1]) == 4
"""


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    pytest.importorskip("torch", reason="torch is not installed")
    with FaultServer("bucket") as server:
        for i in range(64):
            server.store("bucket", f"k{i:02}", i.to_bytes(4, "big"))
            (tmp_path / f"k{i:02}").write_bytes(i.to_bytes(4, "big"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield "s3://bucket" if request.param == "s3" else f"file://{tmp_path}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_read_every_object_once(
    uri: str, method: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = tmp_path_factory.mktemp("script") / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), uri, method]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
