from os import PathLike
from typing import Any, Callable, Optional, Sequence, TypedDict, Union

__version__: str

_Path = Union[str, "PathLike[str]"]
_Around = tuple[Optional[tuple[str, list[str]]], Optional[str], Optional[str]]
_Event = dict[str, Any]

class Answer(TypedDict):
    kind: str
    message: str
    file: Optional[PathLike[str]]
    code: int
    text: str
    failures: list[str]

def call(
    arguments: Sequence[_Path],
    around: _Around,
    events: Optional[Callable[[list[_Event]], None]],
) -> Answer: ...
def main(arguments: Sequence[_Path], around: _Around) -> int: ...
def options(
    command: Optional[str] = None,
) -> Optional[list[tuple[str, bool, bool, Optional[str], str]]]: ...
def config_names(path: _Path) -> list[tuple[str, Optional[str]]]: ...
def copy_model(source: _Path, target: _Path) -> Answer: ...
def comparison_page(report: str) -> Optional[str]: ...
def panic() -> Answer: ...
