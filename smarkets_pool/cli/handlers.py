"""The user's handlers for ``run``: found by ``module[:object]``, registered, and checked all at once."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Callable

from smarkets_pool import Pool
from smarkets_pool.dispatcher import Dispatcher
from smarkets_pool.exceptions import ConfigError

__all__ = ["DEFAULT_OBJECT", "Setup", "find_setup"]

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
        ConfigError: there is no such module or object, or it is neither. Whatever the module itself raises
            while it is imported leaves as it is.
    """
    module_name, _, object_name = where.partition(":")
    folder = str(pathlib.Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    _check_exists(module_name)
    module = importlib.import_module(module_name)
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
    if not callable(found):
        raise ConfigError(
            f"{module_name}:{name} is a {type(found).__name__}; it is to be a function that takes the pool, "
            "or a dispatcher from Pool.new_dispatcher()"
        )
    try:
        inspect.signature(found).bind(None)
    except TypeError as error:
        raise ConfigError(f"{module_name}:{name} cannot be called with the pool: {error}") from None
    return found


def _check_exists(name: str) -> None:
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        spec = None  # a part of a dotted name is missing, or it is no name at all
    if spec is None:
        here = [path.stem for path in pathlib.Path.cwd().glob("*.py")]
        near = difflib.get_close_matches(name.removesuffix(".py"), here, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"there is no module {name!r} in {pathlib.Path.cwd()} or on Python's path{hint}")
