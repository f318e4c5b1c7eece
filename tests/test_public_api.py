"""The public face: names, twins, errors."""

from __future__ import annotations

import ast
import builtins
import inspect
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import s3dlio
from s3dlio import ManyError, S3dlioError, Store, _core, errors, transfer, verbs

# A star import must not take a builtin away from its user.
NOT_IN_ALL = {"ConnectionError", "TimeoutError", "list", "open"}

ERRORS = {
    "NotFoundError": FileNotFoundError,
    "AlreadyExistsError": FileExistsError,
    "PermissionDeniedError": PermissionError,
    "AuthenticationError": Exception,
    "PreconditionFailedError": Exception,
    "RangeError": ValueError,
    "InvalidUriError": ValueError,
    "RateLimitedError": Exception,
    "QuotaExceededError": Exception,
    "TimeoutError": builtins.TimeoutError,
    "ConnectionError": builtins.ConnectionError,
    "IntegrityError": Exception,
    "UnsupportedError": NotImplementedError,
    "ManyError": ExceptionGroup,
}
# The design's table of verbs.
VERBS = [
    "get",
    "get_range",
    "get_ranges",
    "get_many",
    "iter_many",
    "get_into",
    "get_many_into",
    "put",
    "put_many",
    "list",
    "iter_list",
    "stat",
    "exists",
    "delete",
    "delete_many",
    "delete_prefix",
    "copy",
    "move",
    "list_buckets",
    "create_bucket",
    "delete_bucket",
    "presign",
    "open",
]


def visible() -> set[str]:
    """Names that the text of the package imports for its users."""
    tree = ast.parse(Path(inspect.getfile(s3dlio)).read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if not alias.name.startswith("_")
    }


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    return [
        (parameter.name, parameter.kind, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    ]


def twins(owner: Any) -> list[str]:
    """Names of the awaited verbs that `owner`, a class or a module, defines itself."""
    home = owner.__module__ if isinstance(owner, type) else owner.__name__
    return [
        name
        for name, value in vars(owner).items()
        if name.endswith("_async") and name[0] != "_" and value.__module__ == home
    ]


class TestNames:
    def test_all_is_what_is_visible_without_the_names_of_builtins(self) -> None:
        assert set(s3dlio.__all__) == visible() - NOT_IN_ALL
        assert {name for name in visible() if hasattr(builtins, name)} == NOT_IN_ALL
        assert len(s3dlio.__all__) == len(set(s3dlio.__all__))

    def test_nothing_else_is_visible(self) -> None:
        names = {
            name
            for name, value in vars(s3dlio).items()
            if not name.startswith("_") and not isinstance(value, ModuleType)
        }
        assert names == visible()

    def test_the_version_is_that_of_the_core(self) -> None:
        assert s3dlio.__version__ == _core.__version__

    def test_every_verb_is_method_and_function_by_both_doors(self) -> None:
        for verb in VERBS:
            for name in (verb, f"{verb}_async"):
                assert callable(getattr(Store, name)), name
                assert getattr(s3dlio, name) is getattr(verbs, name), name

    def test_everything_public_says_what_it_does(self) -> None:
        for name in visible():
            assert inspect.getdoc(getattr(s3dlio, name)), name
        for name in (*VERBS, "copy_from", "counters", "uri", "options"):
            assert inspect.getdoc(getattr(Store, name)), name


class TestTwins:
    @pytest.mark.parametrize(
        ("owner", "name"),
        [
            (owner, name)
            for owner in (*Store.__mro__[:3], verbs, transfer)
            for name in twins(owner)
            # An awaited file has no buffer and no text.
            if name != "open_async"
        ],
    )
    def test_a_twin_takes_the_same_arguments(self, owner: Any, name: str) -> None:
        verb = getattr(owner, name.removesuffix("_async"))
        assert parameters(verb) == parameters(getattr(owner, name))

    @pytest.mark.parametrize("verb", VERBS)
    def test_function_and_method_take_the_same_arguments(self, verb: str) -> None:
        function, method = parameters(getattr(verbs, verb)), parameters(getattr(Store, verb))
        # "key" is "uri" out there, and only a method has a root to start from.
        if verb in {"list", "iter_list"}:
            function, method = function[1:], method[1:]
        if verb in {"list_buckets", "create_bucket", "delete_bucket"}:
            function = function[1:]
        assert [part[1:] for part in function] == [part[1:] for part in method]

    def test_an_awaited_file_takes_what_a_file_takes_without_buffer_and_text(self) -> None:
        without = {"buffer_bytes", "encoding", "errors", "newline"}
        for owner in (Store, verbs):
            kept = [part for part in parameters(owner.open) if part[0] not in without]
            assert parameters(owner.open_async) == kept

    def test_every_twin_can_be_awaited_or_iterated(self) -> None:
        for owner in (*Store.__mro__[:3], verbs, transfer):
            for name in twins(owner):
                twin = getattr(owner, name)
                assert inspect.iscoroutinefunction(twin) != name.startswith("iter_"), name


class TestErrors:
    def test_the_tree_is_the_one_of_the_design(self) -> None:
        found = {
            name
            for name, value in vars(errors).items()
            if isinstance(value, type) and issubclass(value, S3dlioError)
        }
        assert found == {*ERRORS, "S3dlioError"}

    @pytest.mark.parametrize(("name", "builtin"), ERRORS.items())
    def test_every_error_is_ours_and_the_builtin_it_promises(
        self, name: str, builtin: type[Exception]
    ) -> None:
        cls = getattr(s3dlio, name)
        assert issubclass(cls, S3dlioError)
        assert issubclass(cls, builtin)

    def test_kinds_are_those_of_the_core_and_many(self) -> None:
        kinds = [kind.value for kind in s3dlio.ErrorKind]
        assert sorted(kinds) == sorted([*_core.KINDS, "many"])

    def test_every_kind_but_an_impossible_argument_has_a_class_of_its_own(self) -> None:
        kinds = [getattr(s3dlio, name).kind_of_class for name in (*ERRORS, "S3dlioError")]
        assert len(kinds) == len(set(kinds))
        assert set(s3dlio.ErrorKind) - set(kinds) == {s3dlio.ErrorKind.INVALID_ARGUMENT}

    @pytest.mark.parametrize("name", [*ERRORS, "S3dlioError"])
    def test_every_error_pickles(self, name: str) -> None:
        cls = getattr(s3dlio, name)
        if cls is ManyError:
            error: S3dlioError = ManyError("text", {0: s3dlio.NotFoundError("gone")}, [None])
        else:
            error = cls("text", uri="s3://b/k", attempts=2, hint="try")
        other = pickle.loads(pickle.dumps(error))
        assert (type(other), str(other), other.uri) == (cls, str(error), error.uri)

    def test_an_error_of_the_core_pickles_as_it_was_raised(self) -> None:
        with pytest.raises(s3dlio.NotFoundError) as caught:
            s3dlio.get("memory://nothing/here")
        other = pickle.loads(pickle.dumps(caught.value))
        assert vars(other) == vars(caught.value)
        assert other.uri == "memory://nothing/here"
