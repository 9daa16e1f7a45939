"""From Python values to the command's arguments."""

from __future__ import annotations

import difflib
import functools
import json
import math
import numbers
import os
from typing import Any, Mapping, Optional

from . import _native
from ._errors import UsageError

Row = tuple[str, bool, bool, Optional[str], str]

# Options whose value is NAME=…, given as a dict.
_NAMED = {"input_shape": ",", "dim": ","}
# Options whose value is HEIGHTxWIDTH, given as a pair.
_SIZES = {"resize", "crop"}


@functools.lru_cache(maxsize=None)
def rows(command: Optional[str]) -> Mapping[str, Row]:
    """The options of a command by their names in Python."""
    found = _native.options(command) or []
    return {row[0].replace("-", "_"): row for row in found}


def arguments(
    function: str, command: Optional[str], options: Mapping[str, Any], own: frozenset[str]
) -> list[str]:
    """``options`` as arguments of ``command``. Those in ``own`` are not for the caller of ``function``.

    Raises ``TypeError`` for an option that does not exist, as Python does.
    """
    known = rows(command)
    given: list[str] = []
    for name, value in options.items():
        if name not in known or name in own:
            raise TypeError(_unexpected(function, name, [n for n in known if n not in own]))
        given += _option(known[name], name, value)
    return given


def toml(options: Mapping[str, Any]) -> str:
    """``options`` as a file for ``config``. What JSON writes of texts, numbers and lists is TOML too."""
    lines = []
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            value = [f"{key}={_joined(sizes)}" for key, sizes in value.items()]
        elif name.replace("-", "_") in _SIZES and isinstance(value, (tuple, list)):
            value = f"{value[0]}x{value[1]}"
        elif hasattr(value, "__iter__") and not isinstance(value, (str, bytes, os.PathLike)):
            value = [_plain(one) for one in value]
        lines.append(f"{json.dumps(str(name))} = {json.dumps(_plain(value), ensure_ascii=False)}\n")
    return "".join(lines)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, list)) else _number(_text(value))


def _number(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) and str(number) == text else text


def _unexpected(function: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{function}() got an unexpected keyword argument '{name}'{hint}"


def _option(row: Row, name: str, value: Any) -> list[str]:
    long, takes_value, repeatable, delimiter, _ = row
    if value is None:
        return []
    if not takes_value:
        if not isinstance(value, (bool, int)):
            raise TypeError(f"{name} is True or False, not {value!r}")
        return [f"--{long}"] if value else []
    if name in _NAMED and isinstance(value, Mapping):
        return [f"--{long}={key}={_joined(sizes)}" for key, sizes in value.items()]
    if name in _SIZES and isinstance(value, (tuple, list)) and len(value) == 2:
        return [f"--{long}={value[0]}x{value[1]}"]
    many = not isinstance(value, (str, bytes, os.PathLike)) and hasattr(value, "__iter__")
    if many and repeatable and delimiter is None:
        return [f"--{long}={_text(one)}" for one in value]
    if many and delimiter is not None:
        values = [_text(one) for one in value]
        if not values:
            raise UsageError(f"{name} is an empty list; give values, or leave it out")
        return [f"--{long}={delimiter.join(values)}"]
    return [f"--{long}={_text(value)}"]


def _joined(sizes: Any) -> str:
    many = hasattr(sizes, "__iter__") and not isinstance(sizes, str)
    return ",".join(map(_text, sizes)) if many else _text(sizes)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        raise TypeError(f"a number or a text is needed, not {value!r}")
    if isinstance(value, (str, bytes, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, numbers.Real) and value == math.inf:
        return "none"
    return str(value)
