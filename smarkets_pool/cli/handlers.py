"""The user's handlers for ``run``: found by ``module[:object]``, registered, and checked all at once."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pathlib
import sys
import traceback
from collections.abc import Callable
from types import FrameType, ModuleType

from smarkets_pool import Pool
from smarkets_pool.dispatcher import Dispatcher
from smarkets_pool.exceptions import ConfigError

__all__ = ["DEFAULT_OBJECT", "Setup", "find_setup", "register"]

#: What is looked for in a module when no object is named.
DEFAULT_OBJECT = "setup"

#: Registers handlers with a pool that is not started yet.
Setup = Callable[[Pool], object]


def find_setup(where: str) -> Setup | Dispatcher:
    """The function that registers handlers, or a dispatcher that has them.

    ``where`` is ``module`` or ``module:object``; modules are looked for in the current folder first. The
    object is a callable that takes the pool (a function, or a class that is made with it) or a dispatcher
    from ``Pool.new_dispatcher()``.

    Raises:
        ConfigError: there is no such module or object, it is neither, or importing the module failed.
    """
    module_name, _, object_name = where.partition(":")
    folder = str(pathlib.Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = _import(module_name)
    name = object_name or DEFAULT_OBJECT
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [known for known in vars(module) if not known.startswith("_")]
            near = difflib.get_close_matches(part, known, n=1)
            hint = f"; did you mean {module_name}:{near[0]}?" if near else ""
            if not object_name:
                hint = f": write a function {name}(pool) that registers handlers, or name one{hint}"
            raise ConfigError(f"module {module_name!r} has no {name!r}{hint}")
        found = getattr(found, part)
    if isinstance(found, Dispatcher):
        return found
    if problem := _problem_with(found):
        raise ConfigError(f"{module_name}:{name} {problem}")
    assert callable(found)
    return found


def register(setup: Setup, pool: Pool) -> str | None:
    """Have the user's function register; return how it failed, if it did.

    A registration that is refused is no failure: the pool's dispatcher remembers it.
    """
    try:
        with pool.dispatcher.collecting():
            setup(pool)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's function: its own traceback says most
        return f"it failed:\n{_told(error)}"
    return None


# --- modules ---------------------------------------------------------------------------------------


def _import(name: str) -> ModuleType:
    try:
        spec = importlib.util.find_spec(name) if name and not name.startswith(".") else None
    except (ModuleNotFoundError, ValueError):
        spec = None  # a part of a dotted name is missing, or it is no name at all
    except (Exception, SystemExit) as error:  # noqa: BLE001 - raised by the package it is in
        raise ConfigError(f"importing it failed:\n{_told(error)}") from None
    if spec is None:
        raise ConfigError(
            f"there is no module {name!r} in {pathlib.Path.cwd()} or on Python's path{_near(name)}"
        )
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module: its own traceback says most
        raise ConfigError(f"importing it failed:\n{_told(error)}") from None


def _near(name: str) -> str:
    """What may have been meant: the module of a file's path, or one of the current folder."""
    here = pathlib.Path.cwd()
    path = pathlib.Path(name.removesuffix(".py"))
    if path.parts and not path.is_absolute() and ".." not in path.parts and path.with_suffix(".py").is_file():
        return f"; did you mean {'.'.join(path.parts)}?"
    near = difflib.get_close_matches(path.name, [file.stem for file in here.glob("*.py")], n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


# --- objects ---------------------------------------------------------------------------------------


def _problem_with(found: object) -> str | None:
    """Why an object could not be called with the pool, or None if it can be."""
    if not callable(found):
        return (
            f"is of type {type(found).__name__}; it is to be a function that takes the pool, or a dispatcher "
            "from Pool.new_dispatcher()"
        )
    call = found if inspect.isroutine(found) or inspect.isclass(found) else type(found).__call__
    for kind, word in (
        (inspect.iscoroutinefunction, "an async def"),
        (inspect.isasyncgenfunction, "an async generator"),
        (inspect.isgeneratorfunction, "a generator"),
    ):
        if kind(call):
            return f"is {word}: calling it runs none of its body; use a plain function"
    try:
        inspect.signature(found).bind(None)
    except ValueError:
        return None  # written in C and does not say: the call will tell
    except TypeError as error:
        return f"cannot be called with the pool: {error}"
    return None


# --- what the user's code raised -------------------------------------------------------------------

_OURS = str(pathlib.Path(__file__).parent.parent)


def _told(error: BaseException) -> str:
    """An error of the user's code with its traceback, without the steps that led there."""
    began = error.__traceback__
    while began is not None and not _is_the_users(began.tb_frame):
        began = began.tb_next
    return "".join(traceback.format_exception(type(error), error, began)).rstrip()


def _is_the_users(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith((_OURS, "<frozen importlib")) and name != importlib.__file__
