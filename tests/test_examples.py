"""The examples do what the README says of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

pytest.importorskip(
    "sklearn", reason="the example needs scikit-learn: pip install 's3dlio[examples]'"
)


def run(script: str, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / script), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_times(printed: str) -> str:
    """What must be equal in two runs."""
    return "\n".join(line for line in printed.splitlines() if not line.startswith("trained"))


@pytest.mark.timeout(300)
class TestTrainFromStore:
    def test_learns_the_digits_from_a_local_folder_without_copies(self, tmp_path: Path) -> None:
        printed = run("train_from_store.py", folder=tmp_path)
        accuracy = re.search(r"accuracy +([\d.]+) on 359 held-out", printed)
        requests = re.search(r"requests +(\d+) \(0 of them repeated\)", printed)
        assert accuracy is not None, printed
        assert float(accuracy[1]) > 0.9
        assert requests is not None, printed
        assert int(requests[1]) == 5 * 1438
        assert re.search(r"copies +0 bytes", printed), printed
        assert len(list((tmp_path / "digits").rglob("*.npy"))) == 1797

    def test_writes_its_objects_once_and_learns_the_same_from_them_again(
        self, tmp_path: Path
    ) -> None:
        arguments = ("--uri", f"file://{tmp_path / 'a folder'}", "--epochs", "1", "--batch", "256")
        first = run("train_from_store.py", *arguments, folder=tmp_path)
        written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
        second = run("train_from_store.py", *arguments, folder=tmp_path)
        assert without_times(second) == without_times(first)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == written
