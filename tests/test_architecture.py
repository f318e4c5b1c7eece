"""The shape of the house: what imports what, where `unsafe` lives, how long files are."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import s3dlio

ROOT = Path(__file__).resolve().parents[1]
PYTHON, RUST = ROOT / "s3dlio", ROOT / "rust"

# A file imports from the rows above its own, and in its own row from what stands left of it.
PYTHON_ROWS = [
    ["errors", "options"],
    ["uri", "info", "order", "formats", "aws"],
    ["_core"],
    ["file", "root", "reading", "store", "registry", "verbs"],
    ["transfer", "dataset", "checkpoint", "trace"],
    ["loader", "report", "bench"],
    ["__init__"],
    ["torch", "jax", "tensorflow", "fsspec", "zarr", "ray", "cli", "testing"],
]
RUST_ROWS = [
    ["failure", "plan", "trail", "retry"],
    ["memory", "runtime"],
    ["http", "credentials", "config", "backend"],
    ["read", "many", "write", "list"],
    ["errors", "buffer", "listing", "values", "settings", "bridge", "live", "streams"],
    ["store"],
    ["lib"],
]
UNSAFE = {"memory.rs", "buffer.rs"}
BINDINGS = {*RUST_ROWS[4], "store", "lib"}
MOST_LINES = 600
FORBIDDEN = re.compile(
    r"(^|_)(utils?|helpers?|common|misc|v2|new|advanced|optimized|enhanced|compat)($|_)"
)
NOT_LOADED = ("numpy", "torch", "jax", "tensorflow", "fsspec", "zarr", "ray", "pyarrow", "asyncio")
IMPORT_BOUND_SECONDS = 0.05


def files(folder: Path, ending: str) -> list[tuple[str, Path]]:
    """Each file with its noun: the module, or the folder that it lies in."""
    return [
        (path.relative_to(folder).parts[0].removesuffix(ending), path)
        for path in sorted(folder.rglob(f"*{ending}"))
    ]


PYTHON_FILES, RUST_FILES = files(PYTHON, ".py"), files(RUST, ".rs")


def position(rows: list[list[str]], noun: str) -> tuple[int, int]:
    for row, nouns in enumerate(rows):
        if noun in nouns:
            return row, nouns.index(noun)
    raise AssertionError(f"{noun} has no row yet: give it one here and in the decisions")


def nouns_imported_by_python(path: Path) -> set[str]:
    """Nouns of this package that the file at `path` imports, also inside functions."""
    package = ("s3dlio", *path.relative_to(PYTHON).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            # `from s3dlio import x` is the module x, or a name of the package itself.
            found |= {f"{module}.{alias.name}" for alias in node.names}
    nouns = set()
    for name in found:
        first, _, rest = name.partition(".")
        if first == "s3dlio":
            noun = rest.partition(".")[0]
            known = any(noun in row for row in PYTHON_ROWS)
            nouns.add(noun if known else "__init__")
    return nouns


def without_comments(text: str) -> str:
    return re.sub(r"//[^\n]*", "", text)


def nouns_imported_by_rust(path: Path) -> set[str]:
    """Nouns of this crate that the file at `path` uses, its tests left out."""
    text = without_comments(path.read_text(encoding="utf-8"))
    text = re.split(r"#\[cfg\(test\)\]\s*mod tests\s*\{", text)[0]
    found = set(re.findall(r"\bcrate::(\w+)", text))
    for group in re.findall(r"\bcrate::\{(.*?)\};", text, re.DOTALL):
        flat = re.sub(r"\{[^{}]*\}", "", group)
        found |= set(re.findall(r"(?:^|,)\s*(\w+)", flat))
    if path.parent == RUST:
        found |= set(re.findall(r"\bsuper::(\w+)", text))
    return found


def is_test(path: Path) -> bool:
    return path.name == "tests.rs" or "tests" in path.parts


class TestDirection:
    @pytest.mark.parametrize(("noun", "path"), PYTHON_FILES)
    def test_python_imports_go_up_only(self, noun: str, path: Path) -> None:
        for other in nouns_imported_by_python(path) - {noun}:
            assert position(PYTHON_ROWS, other) < position(PYTHON_ROWS, noun), (
                f"{noun} imports {other}"
            )

    @pytest.mark.parametrize(("noun", "path"), [f for f in RUST_FILES if not is_test(f[1])])
    def test_rust_imports_go_up_only(self, noun: str, path: Path) -> None:
        for other in nouns_imported_by_rust(path) - {noun}:
            assert position(RUST_ROWS, other) < position(RUST_ROWS, noun), f"{noun} imports {other}"

    def test_a_module_is_found_however_it_is_imported(self) -> None:
        assert nouns_imported_by_python(PYTHON / "registry.py") >= {"_core", "store", "uri"}
        assert nouns_imported_by_python(PYTHON / "testing" / "contract.py") == {
            "__init__",
            "testing",
        }
        assert nouns_imported_by_rust(RUST / "store.rs") >= {"read", "bridge", "failure"}


class TestRust:
    def test_unsafe_lives_in_two_files(self) -> None:
        found = {
            str(path.relative_to(RUST))
            for _, path in RUST_FILES
            if re.search(r"\bunsafe\b", without_comments(path.read_text(encoding="utf-8")))
        }
        assert found <= UNSAFE

    def test_every_unsafe_block_says_why_it_is_sound(self) -> None:
        for name in UNSAFE:
            text = (RUST / name).read_text(encoding="utf-8")
            blocks = len(re.findall(r"\bunsafe (?:\{|impl\b)", without_comments(text)))
            assert text.count("// SAFETY:") >= blocks, name

    def test_python_is_known_to_the_bindings_only(self) -> None:
        found = {
            noun
            for noun, path in RUST_FILES
            if "pyo3" in without_comments(path.read_text(encoding="utf-8"))
        }
        assert found <= BINDINGS

    def test_unsafe_is_denied_elsewhere(self) -> None:
        assert 'unsafe_code = "deny"' in (ROOT / "Cargo.toml").read_text(encoding="utf-8")


class TestFiles:
    @pytest.mark.parametrize("path", [path for _, path in [*PYTHON_FILES, *RUST_FILES]])
    def test_a_file_is_not_too_long(self, path: Path) -> None:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MOST_LINES, f"{path.relative_to(ROOT)} has two nouns in it"

    def test_no_file_has_a_name_that_says_nothing(self) -> None:
        folders = (PYTHON, RUST, ROOT / "tests", ROOT / "examples", ROOT / "docs")
        names = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert [path for path in names if FORBIDDEN.search(path.stem.lower())] == []


class TestImport:
    def test_the_installed_package_is_tested_and_not_the_source_tree(self) -> None:
        assert Path(s3dlio.__file__).resolve().parent != PYTHON

    def test_it_loads_no_framework_and_not_numpy(self) -> None:
        script = f"import sys, s3dlio; print([m for m in {NOT_LOADED!r} if m in sys.modules])"
        assert fresh(script).strip() == "[]"

    def test_it_takes_less_than_50_ms(self) -> None:
        """The best of several, each in a new interpreter and without the interpreter's own start."""
        script = (
            "import time; start = time.perf_counter(); import s3dlio; "
            "print(time.perf_counter() - start)"
        )
        assert min(float(fresh(script)) for _ in range(8)) < IMPORT_BOUND_SECONDS


def fresh(script: str) -> str:
    """What `script` prints in a new interpreter that sees only what is installed."""
    # Bytecode is kept, as it is where a user installed the package.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout
