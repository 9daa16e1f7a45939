"""Runs on a Ray cluster: nodes looked at before anything is learned, a task a run."""

from __future__ import annotations

import logging
import os
import re
import time
import uuid
import warnings
from dataclasses import dataclass
from typing import Any, Callable, Mapping, NamedTuple, Optional, Sequence

from . import _cell
from ._cell import Cell
from ._errors import BnnpruneError, BnnpruneWarning, CheckpointError, UsageError
from ._native import __version__
from ._sweep_folder import Folder, Inputs

# What is said of a checkpoint that another process has locked.
_IN_USE = "another run uses this folder"
# Seconds for which a lock may outlive a node that has died, on a file system of a network.
_PATIENCE = 180.0

# A row and its warnings, or why there is none.
Outcome = tuple[Optional[dict[str, Any]], list[str], Optional[BaseException]]


@dataclass(frozen=True)
class Needs:
    """What a task takes of a node, and how often it is begun anew where its node dies."""

    num_cpus: float
    resources: Mapping[str, float]
    max_retries: int

    @property
    def wanted(self) -> dict[str, float]:
        """What a task takes, by Ray's names."""
        return {"CPU": self.num_cpus, **self.resources}

    def met(self, node: Mapping[str, Any]) -> bool:
        """Whether the node is large enough."""
        return all(node["Resources"].get(name, 0) >= most for name, most in self.wanted.items())


class Job(NamedTuple):
    """What all tasks have in common."""

    folder: str
    inputs: Inputs
    options: Mapping[str, Any]


def imported() -> Any:
    """The module ``ray``."""
    try:
        import ray
    except ImportError as error:
        raise ImportError("sweep() needs Ray: pip install ray") from error
    return ray


class Cluster:
    """The cluster that there is, the one at ``address``, or one of this machine for this call."""

    def __init__(self, address: Optional[str]) -> None:
        self._ray = imported()
        self._own = not self._ray.is_initialized()
        # Without a word of where, Ray would join whatever cluster this machine ran last.
        nowhere = address is None and not os.environ.get("RAY_ADDRESS")
        self._alone = self._own and nowhere
        if self._own:
            address = "local" if nowhere else address
            self._ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
        elif address is not None:
            raise UsageError(
                "address: Ray is connected already; leave address out, or call ray.shutdown() first"
            )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._own:
            self._ray.shutdown()

    def check(self, job: Job, needs: Needs) -> None:
        """Makes sure that every node that may get a task has this package, and sees the same files."""
        nodes = [node for node in self._ray.nodes() if node["Alive"] and needs.met(node)]
        if not nodes:
            if self._alone:
                raise UsageError(
                    f"this machine has not {needs.wanted} for a task; ask for less (num_cpus, resources), or "
                    "name a cluster (address)"
                )
            warnings.warn(
                f"no node has {needs.wanted}: tasks wait until one comes", BnnpruneWarning, stacklevel=3
            )
        token = os.path.join(job.folder, f".{uuid.uuid4().hex}")
        with open(token, "w", encoding="utf-8") as file:
            file.write("A node that cannot read this has another file system.")
        try:
            asked = [self._asked(node, job, token) for node in nodes]
            for node, answer in zip(nodes, asked):
                wrong = self._answer(answer)
                if wrong:
                    raise UsageError(f"node {node['NodeManagerAddress']}: {wrong}")
        finally:
            os.remove(token)

    def _asked(self, node: Mapping[str, Any], job: Job, token: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = self._ray.remote(_seen).options(
            name="sweep: look at the node", num_cpus=0, max_retries=0, scheduling_strategy=there
        )
        return task.remote(job, token, __version__)

    def _answer(self, answer: Any) -> Optional[str]:
        """What is wrong with a node."""
        try:
            found: Optional[str] = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:
            # Before the function itself was there.
            return (
                f"onnx_bnnprune cannot be imported ({error.cause}); install it on every node, or "
                "name it in Ray's runtime_env"
            )
        except self._ray.exceptions.RayError:
            # It has just died, and gets no task.
            return None
        return found

    def run(
        self, job: Job, cells: Sequence[Cell], needs: Needs, tell: Callable[[Cell, Outcome], None]
    ) -> None:
        """Runs the cells, and tells of each when it has ended. What ``tell`` raises stops them."""
        task = self._ray.remote(_run)
        waiting = {
            task.options(
                name=f"sweep: {cell}",
                num_cpus=needs.num_cpus,
                resources=dict(needs.resources) or None,
                max_retries=needs.max_retries,
                # What a run itself raises it would raise again.
                retry_exceptions=False,
            ).remote(job, cell): cell
            for cell in cells
        }
        try:
            while waiting:
                done, _ = self._ray.wait(list(waiting), num_returns=1)
                for ref in done:
                    cell = waiting.pop(ref)
                    tell(cell, self._outcome(ref, needs))
        finally:
            for ref in waiting:
                self._ray.cancel(ref)
            # They stop at their next batch, and leave a checkpoint.
            if waiting:
                self._ray.wait(list(waiting), num_returns=len(waiting), timeout=10)

    def _outcome(self, ref: Any, needs: Needs) -> Outcome:
        exceptions = self._ray.exceptions
        try:
            row, warned = self._ray.get(ref)
            return row, warned, None
        except exceptions.RayTaskError as error:
            return None, [], error.cause
        except exceptions.RayError as error:
            why = re.split(r"\n|\. ", str(error).strip())[0]
            return None, [], BnnpruneError(
                f"lost after {needs.max_retries} retries ({why}); the same call goes on from its "
                "checkpoint"
            )


def _seen(job: Job, token: str, version: str) -> Optional[str]:
    """What a node lacks that the caller has."""
    if version != __version__:
        return f"onnx_bnnprune is {__version__}, here it is {version}; install the same version"
    if not os.path.exists(token):
        return _not_shared(job.folder)
    named = [job.options.get(name) for name in ("classes", "preprocessor")]
    paths = [*job.inputs, *(path for path in named if isinstance(path, str))]
    for path in paths:
        if path and path != "synthetic" and not os.path.exists(path):
            return _not_shared(path)
    return None


def _not_shared(path: str) -> str:
    return (
        f"{path} is not there as it is here; put the model, the images and the folder on a file "
        "system that all nodes share, under the same path"
    )


def _run(job: Job, cell: Cell) -> tuple[dict[str, Any], list[str]]:
    """The task: a row, which the folder keeps before anybody is told."""
    folder = Folder(job.folder)
    options = {**job.options, "checkpoint": folder.checkpoint(cell)}
    until = time.monotonic() + _PATIENCE
    while True:
        # The node may have died with nothing but its answer lost.
        kept = folder.row(cell)
        if kept is not None:
            return kept
        try:
            row, warned = _cell.run(cell, *job.inputs, options)
        except CheckpointError as error:
            if _IN_USE not in str(error) or time.monotonic() > until:
                raise
            time.sleep(1)
        else:
            folder.keep(cell, row, warned, imported().get_runtime_context().get_node_id())
            return row, warned
