"""Progress, notes and warnings of a run, as Python users expect them."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any, Callable, Optional, Union

from ._errors import BnnpruneWarning

# Called with the phase, steps done, steps in all, and what is done at the moment.
Callback = Callable[[str, int, int, str], Any]
Progress = Union[bool, Callback, None]

_log = logging.getLogger("onnx_bnnprune")


class Listener:
    """Tells a callback of a run's progress, the logger of its notes, and warns of its warnings."""

    def __init__(self, progress: Progress) -> None:
        self._bar: Optional[_Bar] = None
        self._callback: Optional[Callback] = None
        if callable(progress):
            self._callback = progress
        elif progress or (progress is None and _wanted()):
            self._bar = _Bar.new(needed=bool(progress))
            self._callback = self._bar
        self._phase, self._done, self._total, self._detail = "", 0, 0, ""

    def __call__(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            kind, text, steps = event["kind"], event["text"], event["steps"]
            if kind == "note":
                _log.info(text)
            elif kind == "warn":
                # Whoever called the function is meant: past this one and those that run it.
                warnings.warn(text, BnnpruneWarning, stacklevel=5)
            elif kind == "begin":
                self._phase, self._done, self._total, self._detail = text, 0, steps, ""
            elif kind == "advance":
                self._done += steps
            elif kind == "detail":
                self._detail = text
            if kind in ("begin", "advance", "detail") and self._callback:
                self._callback(self._phase, self._done, self._total, self._detail)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar:
            self._bar.close()


def _wanted() -> bool:
    """Whether somebody looks: a terminal or a notebook."""
    return "ipykernel" in sys.modules or bool(sys.stderr and sys.stderr.isatty())


class _Bar:
    """A bar of tqdm for each phase."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._bar: Any = None
        self._phase = ""

    @classmethod
    def new(cls, needed: bool) -> Optional[_Bar]:
        """A bar; ``None`` without tqdm, which is an error only if it is ``needed``."""
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            if needed:
                raise ImportError(
                    "progress=True needs tqdm: pip install tqdm"
                ) from error
            return None
        return cls(tqdm)

    def __call__(self, phase: str, done: int, total: int, detail: str) -> None:
        if self._bar is None or self._phase != phase or done < self._bar.n:
            self.close()
            self._phase = phase
            self._bar = self._tqdm(total=total, desc=phase, leave=False)
        self._bar.set_postfix_str(detail, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
