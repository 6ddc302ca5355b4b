"""Numbers and methods in words, the same wherever they appear."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nonrobust_guidance.metrics.cells import REJECTION, list_methods, stabilizer_chain
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.sampling.settings import Plan
from nonrobust_guidance.settings import Choice

X_T = "xₜ"
X0_HAT = "x̂₀"
AT = {"xt": X_T, "x0": X0_HAT, "x0_detached": f"{X0_HAT} detached"}


def percent(interval: Interval | None, decimals: int = 0) -> str:
    """Return a share such as ``97% [92, 99]``; a dash for None or NaN."""
    if interval is None or math.isnan(interval.value):
        return "-"
    value, low, high = (f"{100 * end:.{decimals}f}" for end in interval)
    return f"{value}% [{low}, {high}]"


def points(interval: Interval) -> str:
    """Return a difference of shares such as ``+12 points [4, 20]``."""
    value, low, high = (round(100 * end) for end in interval)
    return f"{value:+d} points [{low:+d}, {high:+d}]"


def number(interval: Interval) -> str:
    """Return a distance such as ``3.41 [2.90, 4.02]``, with as many decimals as three figures of the number need.

    There are no brackets where the interval's ends are NaN, and only a dash where the number is.
    """
    decimals = decimals_of(interval.value)
    if math.isnan(interval.value):
        return "-"
    if math.isnan(interval.low):
        return f"{interval.value:.{decimals}f}"
    return f"{interval.value:.{decimals}f} [{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"


def quantity(interval: Interval) -> str:
    """Return a number of any size such as ``0.0123 [0.0101, 0.0145]``, each to three figures."""
    return f"{interval.value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


def signed(interval: Interval) -> str:
    """Return a difference of distances such as ``-1.20 [-2.10, -0.30]``."""
    decimals = decimals_of(max(abs(interval.low), abs(interval.high)))
    return f"{interval.value:+.{decimals}f} [{interval.low:+.{decimals}f}, {interval.high:+.{decimals}f}]"


def decimals_of(value: float) -> int:
    """Return how many decimals show three figures of a number: 0 from 100 on, 2 below 10; below 0.1, two figures."""
    size = abs(value)
    if 0 < size < 0.1:
        return 3 if size >= 0.01 else 4
    return 0 if size >= 100 else 1 if size >= 10 else 2


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def method_labels(plan: Plan) -> dict[str, str]:
    """Return the label of each method by its name, such as ``non-robust, x̂₀ + EMA 0.9``.

    Where two labels would be the same, the methods' names in the configuration follow in brackets.
    """
    labels = families_of(plan)
    shown = list(labels.values())
    return {name: label if shown.count(label) == 1 else f"{label} ({name})" for name, label in labels.items()}


def families_of(plan: Plan) -> dict[str, str]:
    """Return the same without names in brackets: methods that differ only in their steps have the same label."""
    entries, labels = plan.sampling.guided, {}
    for method in list_methods(plan):
        sampler = [method.sampler] if method.sampler else []
        family = "robust" if method.robust else "non-robust"
        if method.unguided:
            labels[method.name] = ", ".join(["unguided", *sampler])
        elif not method.guided:
            labels[method.name] = ", ".join([family, method.at, *sampler])
        else:
            chain = [_stabilizer_label(link) for link in stabilizer_chain(entries[method.name])]
            own = method.trust_radius is not None and method.trust_radius != plan.sampling.trust_radius
            region = [f"trust region {method.trust_radius:g}"] if own else []
            at = AT.get(method.at, method.at)
            rejection = [REJECTION] if method.redrawn else []
            labels[method.name] = ", ".join([family, " + ".join([at, *chain]), *region, *rejection, *sampler])
    return labels


def stabilizer_labels(plan: Plan) -> dict[str, str]:
    """Return the label of each stabilizer of the run's methods, by its text in the tables."""
    entries = plan.sampling.guided
    return {
        method.stabilizer: " + ".join(map(_stabilizer_label, stabilizer_chain(entries[method.name])))
        for method in list_methods(plan)
        if method.stabilizer
    }


def _stabilizer_label(link: Choice) -> str:
    names = {"ema": "EMA", "adam": "Adam", "clip_norm": "clipped norm", "normalize": "normalized"}
    beta = f" {link.arguments['beta']:g}" if "beta" in link.arguments else ""
    return f"{names.get(link.name, link.label)}{beta}{' debiased' if link.arguments.get('bias_correction') else ''}"
