"""How many samples it takes to decide a difference between two methods."""

from __future__ import annotations

import math
from statistics import NormalDist

from nonrobust_guidance.metrics.statistics.intervals import LEVEL

POWER = 0.8


def samples_needed(
    difference: float, discordant: float, targets: int = 1, power: float = POWER, level: float = LEVEL
) -> int:
    """Return the n per target, over all seeds, at which the interval of a difference of paired shares excludes 0.

    ``(z sqrt(psi) + z_power sqrt(psi - d^2))^2 / (K d^2)`` for the difference d and the discordant share psi (Connor
    1987, Biometrics 43:207), of K targets with equal n. It goes with `share_difference`, whose interval excludes 0
    where McNemar's test rejects it. Targets are taken as independent; if their differences correlate by r, it takes
    ``1 + (K - 1) r`` times as many.

    The difference should be one that matters to the reader: with the one that was just observed, the answer only
    restates how wide its interval is. The discordant share may well be the observed one, `Pairs.discordant`.

    Args:
        difference: of the shares, averaged over targets, in [-1, 1] and not 0.
        discordant: share of pairs in which exactly one of the two succeeds, at least the difference's size.
        targets: K, at least 1.
        power: probability to decide, in (0, 1).
        level: the interval's coverage, in (0, 1).

    Raises:
        ValueError: if no pairs can have that difference and that discordant share.
    """
    if not 0 < abs(difference) <= discordant <= 1:
        raise ValueError(
            f"No n decides a difference of {difference:g} with {discordant:g} of the pairs discordant;"
            " the difference is not 0 and at most that share."
        )
    if targets < 1:
        raise ValueError(f"A comparison is for at least one target; got {targets}.")
    normal = NormalDist()
    rejected = normal.inv_cdf((1 + level) / 2) * math.sqrt(discordant)
    deviation = normal.inv_cdf(power) * math.sqrt(discordant - difference**2)
    return math.ceil((rejected + deviation) ** 2 / (targets * difference**2))


def samples_for_share(share: float, threshold: float, power: float = POWER, level: float = LEVEL) -> int:
    """Return the n at which Wilson's interval of a share leaves out a threshold.

    ``((z sqrt(t (1 - t)) + z_power sqrt(p (1 - p))) / (p - t))^2`` for the share p and the threshold t.

    Args:
        share: p, in [0, 1].
        threshold: t, in (0, 1) and not p.
        power: probability to decide, in (0, 1).
        level: the interval's coverage, in (0, 1).

    Raises:
        ValueError: if no n tells the two apart.
    """
    if not 0 < threshold < 1 or not 0 <= share <= 1 or share == threshold:
        raise ValueError(f"No n tells a share of {share:g} from {threshold:g}.")
    normal = NormalDist()
    rejected = normal.inv_cdf((1 + level) / 2) * math.sqrt(threshold * (1 - threshold))
    deviation = normal.inv_cdf(power) * math.sqrt(share * (1 - share))
    return math.ceil(((rejected + deviation) / (share - threshold)) ** 2)


def samples_to_tell(
    half_width: float, n: int, margin: float, power: float = POWER, level: float = LEVEL, given: float = LEVEL
) -> int:
    """Return the n at which the interval of a number is narrow enough to exclude a value that lies a margin away.

    ``n ((z + z_power) / z_given * h / margin)^2`` for the half-width h of the interval at n: half-widths fall as
    ``1 / sqrt(n)``.

    Args:
        half_width: h, half of the interval's width at n, at least 0.
        n: samples that gave it.
        margin: distance from the threshold that would matter, above 0, in the number's unit.
        power: probability to decide, in (0, 1).
        level: coverage of the interval that is to decide, in (0, 1).
        given: coverage of the interval that was given.

    Raises:
        ValueError: if the margin is not above 0, or the half-width is not valid.
    """
    if not margin > 0 or not 0 <= half_width < math.inf:
        raise ValueError(f"No n tells a number of half-width {half_width:g} from one {margin:g} away.")
    normal = NormalDist()
    wanted = normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)
    return math.ceil(n * (wanted / normal.inv_cdf((1 + given) / 2) * half_width / margin) ** 2)
