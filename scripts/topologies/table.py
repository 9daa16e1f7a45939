"""The table of trials as Markdown."""

import re
from collections import defaultdict
from collections.abc import Iterable

from trial import Trial

HEADER = [
    "network", "exporter", "removal", "residual", "share", "masked", "removed", "free masked",
    "free removed", "MACs", "bytes", "difference", "ties", "s", "exact",
]  # fmt: skip

LEGEND = """\
`free` filters are those of layers alone in their group, and not tied by a grouped convolution.
`removed` counts masked filters only. Difference: largest, relative to max(1, largest reference
output). `fold` compares the pruned model with the original whose layer outputs are multiplied by a
0/1 vector; `drop` the pruned model with the masked one, and that with a reference that finds by
experiment which inputs carry nothing because of the masks (`†`: a layer could only be masked as in
`fold`, so that second comparison was left out). A tie: a sample whose answers differ, and where
the reference gives the other answer too once up to four of its signs, with inputs within 1e-6 of
the tensor's largest value, are flipped one by one.
"""


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _cells(trial: Trial) -> list[object]:
    exact = ("yes †" if trial.as_fold else "yes") if trial.exact else f"**no**: {trial.error}"
    before, after = trial.macs
    return [
        trial.network, trial.exporter, trial.removal, trial.residual, f"{trial.share:.0%}",
        trial.masked, trial.removed, trial.free_masked, trial.free_removed,
        f"{before:,} → {after:,}", f"{trial.bytes[0]:,} → {trial.bytes[1]:,}",
        f"{trial.difference:.0e}", trial.ties, f"{trial.seconds:.1f}", exact,
    ]  # fmt: skip


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _summary(found: list[Trial]) -> list[str]:
    lines = [
        _row(["removal", "residual", "trials", "exact", "masked filters removed", "of free ones"]),
        _row(["---"] * 6),
    ]
    kinds = defaultdict(list)
    for trial in found:
        kinds[(trial.removal, trial.residual)].append(trial)
    for (removal, residual), rows in kinds.items():
        masked, removed, free, gone = (
            sum(getattr(t, key) for t in rows)
            for key in ("masked", "removed", "free_masked", "free_removed")
        )
        lines.append(
            _row([removal, residual, len(rows), sum(t.exact for t in rows),
                  _percent(removed, masked), _percent(gone, free)])  # fmt: skip
        )
    return lines


def reasons(found: list[Trial]) -> list[str]:
    """What stayed, by reason (names of nodes left out), with networks and counts."""
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    example: dict[tuple[str, str], str] = {}
    for trial in found:
        for reason, free, layer, left in trial.stayed:
            first = reason.split("; ")[0]
            short = re.sub(r"'[^']*'", "'…'", first)
            key = (short, f"{trial.removal}, {trial.residual}")
            network = trial.network + ("" if free else " (coupled)")
            counts[key][network] += left
            example.setdefault(key, layer)
    lines = [_row(["filters", "reason", "run", "networks", "for example"]), _row(["---"] * 5)]
    for key, networks in sorted(counts.items(), key=lambda kv: -sum(kv[1].values())):
        ordered = sorted(networks.items(), key=lambda kv: -kv[1])
        lines.append(
            _row([sum(networks.values()), key[0].replace("|", "/"), key[1],
                  ", ".join(f"{name} {count}" for name, count in ordered), f"`{example[key]}`"])
        )  # fmt: skip
    return lines


CONDITIONS = (
    "One sample, all optimisations on, one thread, median of 40 runs in turns; `drop`, networks at "
    "the width they are used with, random masks. ONNX Runtime's fastest convolutions take channels in "
    "blocks (of 16 with AVX-512): layers of other widths fall back, which a little pruning may not "
    "make up for; `--round-to` keeps to the blocks."
)


def latency_rows(rows: list[tuple]) -> list[str]:
    """Latency of networks at their usual width."""
    head = ["network", "share", "--round-to", "MACs", "MACs left", "ms before", "ms after",
            "ms left", "exact"]  # fmt: skip
    lines = [_row(head), _row(["---"] * len(head))]
    for network, found, before, after in rows:
        macs = found.macs
        lines.append(
            _row([network, f"{found.share:.0%}", found.round_to, f"{macs[0]:,} → {macs[1]:,}",
                  _percent(macs[1], macs[0]), f"{before:.3f}", f"{after:.3f}",
                  f"{after / before:.1%}", "yes" if found.exact else "**no**"])
        )  # fmt: skip
    return lines


def render_latency(rows: list[tuple], command: str) -> str:
    """A file of latency alone."""
    parts = ["# Latency of pruned networks in ONNX Runtime", "", f"Written by `{command}`.", ""]
    return "\n".join([*parts, CONDITIONS, "", *latency_rows(rows), ""])


def render(found: list[Trial], latency: list[tuple], command: str) -> str:
    """The whole file."""
    parts = ["# Elimination on real topologies", "", f"Written by `{command}`.", "", LEGEND]
    parts += ["## Summary", "", *_summary(found), ""]
    if latency:
        parts += ["## Latency in ONNX Runtime", "", CONDITIONS, "", *latency_rows(latency), ""]
    parts += ["## Trials", "", _row(HEADER), _row(["---"] * len(HEADER))]
    parts += [_row(_cells(trial)) for trial in found]
    parts += ["", "## Masked filters that stayed, by reason", "", *reasons(found), ""]
    return "\n".join(parts)
