"""Numbers and methods in words, the same wherever they appear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nonrobust_guidance.metrics.cells import list_methods, stabilizer_chain
from nonrobust_guidance.metrics.intervals import Interval

X_T = "xₜ"
X0_HAT = "x̂₀"
AT = {"xt": X_T, "x0": X0_HAT, "x0_detached": f"{X0_HAT} detached"}


def percent(interval: Interval | None) -> str:
    """Return a share such as ``97% [92, 99]``; a dash for none."""
    if interval is None:
        return "-"
    return f"{100 * interval.value:.0f}% [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def points(interval: Interval) -> str:
    """Return a difference of shares such as ``+12 points [4, 20]``."""
    value, low, high = (round(100 * end) for end in interval)
    return f"{value:+d} points [{low:+d}, {high:+d}]"


def number(interval: Interval) -> str:
    """Return a distance such as ``3.41 [2.90, 4.02]``, as many decimals as three figures of the number take."""
    decimals = decimals_of(interval.value)
    return f"{interval.value:.{decimals}f} [{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"


def signed(interval: Interval) -> str:
    """Return a difference of distances such as ``-1.20 [-2.10, -0.30]``."""
    decimals = decimals_of(max(abs(interval.low), abs(interval.high)))
    return f"{interval.value:+.{decimals}f} [{interval.low:+.{decimals}f}, {interval.high:+.{decimals}f}]"


def decimals_of(value: float) -> int:
    """Return how many decimals show three figures of a number: 0 from 100 on, 2 below 10."""
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def method_labels(config: Mapping[str, Any]) -> dict[str, str]:
    """Return for each method's name what a reader is shown, such as ``non-robust, x̂₀ + EMA 0.9``.

    Where two would read the same, their names in the configuration follow in brackets.
    """
    entries = config["sampling"]["methods"]
    labels = {}
    for method in list_methods(config):
        if not method.guided:
            labels[method.name] = "unguided"
            continue
        chain = [_stabilizer_label(link) for link in stabilizer_chain(entries[method.name])]
        family = "robust" if method.robust else "non-robust"
        labels[method.name] = f"{family}, {' + '.join([AT[method.at], *chain])}"
    shown = list(labels.values())
    return {name: label if shown.count(label) == 1 else f"{label} ({name})" for name, label in labels.items()}


def _stabilizer_label(link: Mapping[str, Any]) -> str:
    name = {"ema": "EMA", "adam": "Adam", "clip_norm": "clipped norm", "normalize": "normalized"}[link["name"]]
    beta = f" {link['beta']:g}" if "beta" in link else ""
    return f"{name}{beta}{' debiased' if link.get('bias_correction') else ''}"
