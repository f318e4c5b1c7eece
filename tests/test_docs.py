"""Every Python block of the documentation runs, or says why it does not."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import s3dlio

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<info>.*)")
REASON = re.compile(r"<!-- not run: (?P<reason>.{10,}) -->")
NOT_PYTHON = {"console", "ini", "json", "rust", "text", "toml", "yaml"}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    """Of the first line of the source; the page's first line is 1."""
    info: str
    source: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = FENCE.fullmatch(lines[number])
        number += 1
        if fence is None:
            continue
        first, width = number, len(fence["indent"])
        while lines[number].strip() != fence["ticks"]:
            number += 1
        source = "\n".join(line[width:] for line in lines[first:number])
        number += 1
        above = REASON.search(lines[first - 2]) if first > 1 else None
        yield Block(page, first + 1, fence["info"].strip(), source, above and above["reason"])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = {
    page: [b for b in BLOCKS if b.page == page and b.info == "python" and b.reason is None]
    for page in PAGES
}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def modules() -> list[types.ModuleType]:
    """The public modules of the package; those of optional frameworks only where the framework is there."""
    found = [s3dlio]
    for info in pkgutil.walk_packages(s3dlio.__path__, "s3dlio."):
        if any(part.startswith("_") for part in info.name.split(".")):
            continue
        try:
            found.append(importlib.import_module(info.name))
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("s3dlio"):
                raise
    return found


MODULES = modules()


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# From Python 3.12 on, a fork beside any thread warns; that it works is what the page shows.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", [page for page in PAGES if RUN[page]], ids=named)
def test_the_blocks_of_a_page_run_one_after_the_other(page: Path) -> None:
    module = types.ModuleType("__main__")
    for block in RUN[page]:
        # Empty lines in front, so that a traceback names the line of the page.
        code = compile("\n" * (block.line - 1) + block.source, str(page), "exec")
        exec(code, vars(module))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_of_docstrings_print_what_they_say(module: types.ModuleType) -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for number, test in enumerate(
        finder.find(module, extraglobs={"s3dlio": s3dlio, "Store": s3dlio.Store})
    ):
        if test.examples and "store" not in test.globs:
            test.globs["store"] = s3dlio.Store(
                f"memory://docstring-{module.__name__.replace('.', '-')}-{number}/"
            )
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_some_pages_and_some_docstrings_have_examples() -> None:
    assert sum(map(len, RUN.values())) >= 10
    finder = doctest.DocTestFinder()
    assert sum(len(test.examples) for module in MODULES for test in finder.find(module)) >= 10


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_python_that_runs_or_says_what_else_it_is(block: Block) -> None:
    if block.info == "python":
        return
    assert block.info in NOT_PYTHON, (
        f"a block of {block.info or 'no language'!r} would silently not run"
    )
    assert not re.search(r"^ *(?:>>> |import s3dlio|from s3dlio)", block.source, re.MULTILINE), (
        "this is Python"
    )


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_reason_stands_right_above_the_block_that_is_not_run(page: Path) -> None:
    used = sum(
        block.reason is not None and block.info == "python"
        for block in BLOCKS
        if block.page == page
    )
    assert page.read_text(encoding="utf-8").count("<!-- not run") == used


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_docstring_hides_an_example_from_the_tests(module: types.ModuleType) -> None:
    for test in doctest.DocTestFinder().find(module):
        assert "```" not in (test.docstring or ""), f"{test.name}: write it with >>>"
        for example in test.examples:
            assert "+SKIP" not in example.source, f"{test.name}: {example.source}"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/reference/*.md")), ids=named)
def test_a_reference_page_has_no_prose_of_its_own(page: Path) -> None:
    for line in filter(None, page.read_text(encoding="utf-8").splitlines()):
        assert line.startswith(("# ", "::: s3dlio", "    ")), line


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=named)
def test_the_links_of_a_page_beside_the_package_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target


def test_readme_tells_the_two_commands() -> None:
    commands = [
        block.source
        for block in BLOCKS
        if block.page.name == "README.md" and block.info == "console"
    ]
    assert "pip install '.[examples]' && python examples/train_from_store.py" in commands
    assert "pip install nox && nox -s tests" in commands
