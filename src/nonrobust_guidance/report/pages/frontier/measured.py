"""What each method reaches at its best scale, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.choice import best
from nonrobust_guidance.metrics.statistics.intervals import Interval
from nonrobust_guidance.metrics.tables import COST
from nonrobust_guidance.report.results import ALL_TARGETS, Outcome, Results, read_table
from nonrobust_guidance.report.wording import families_of


@dataclass(frozen=True)
class Point:
    """A method: what it reaches over all targets, and what an image costs.

    Attributes:
        name: its key in the configuration.
        family: what it is, apart from its steps.
        steps: of its chain.
        sampler: such as ``ddpm``.
        outcome: at its best scale.
        seconds: for 64 images, the median over the rounds between the least and the most.
        cpu_share: the share of these seconds in which its process computed.
        unet: images forward and back through the diffusion model, for one image drawn.
        classifier: the same through the classifier.
        attempts: chains that an image takes.
    """

    name: str
    family: str
    steps: int
    sampler: str
    outcome: Outcome
    seconds: Interval
    cpu_share: float
    unet: tuple[float, float]
    classifier: tuple[float, float]
    attempts: float

    @property
    def passes(self) -> float:
        """All passes through the diffusion model, forward and back."""
        return sum(self.unet)


@dataclass(frozen=True, eq=False)
class Frontier:
    """The methods of a run, and where they were timed."""

    points: list[Point]
    table: pd.DataFrame

    @classmethod
    def read(cls, results: Results) -> Frontier:
        """Read what the methods cost.

        Raises:
            UserError: if the table is missing or not a table, or lacks a method of the configuration.
        """
        path = results.folder / COST.name
        table = read_table(path, COST.columns)
        rows = {row["method"]: row for row in table.to_dict("records")}
        families, outcomes, points = families_of(results.run), results.outcomes_of(ALL_TARGETS), []
        for method in results.methods:
            row = rows.get(method.name)
            if row is None:
                raise UserError(f"{path} has no row of {method.name}; measure the cost of this run again")
            points.append(
                Point(
                    method.name,
                    families[method.name],
                    int(row["steps"]),
                    method.sampler or results.run.sampling.sampler.label,
                    best([outcome for outcome in outcomes if outcome.method.name == method.name]),
                    Interval(row["seconds"], row["seconds_least"], row["seconds_most"]),
                    row["cpu_seconds"] / row["seconds"],
                    (row["unet_forward"], row["unet_backward"]),
                    (row["classifier_forward"], row["classifier_backward"]),
                    row["attempts"],
                )
            )
        return cls(points, table)

    @cached_property
    def protocol(self) -> Point | None:
        """The paper's protocol: its stabilized guidance at x0_hat by a non-robust classifier, with the most steps.

        If there are several, it is the best one at its best scale; None where the run has none.
        """
        paper = [
            point
            for point in self.points
            if (method := point.outcome.method).as_in_paper
            and not method.robust
            and method.at == "x0"
            and method.stabilizer
        ]
        most = max((point.steps for point in paper), default=0)
        return self.best_of([point for point in paper if point.steps == most])

    @property
    def reference(self) -> Point:
        """What others are timed against: the paper's protocol, or without one the most expensive method."""
        return self.protocol or max(self.points, key=lambda point: point.seconds.value)

    def speed(self, point: Point) -> float:
        """Return how many times faster than the reference a method is."""
        return self.reference.seconds.value / point.seconds.value

    def affordable(self, share: float, *, robust: bool) -> Point | None:
        """Return what to run within a share of the reference's time; None where no method toward a class is that cheap.

        Not everybody has a robust classifier, so there is one choice among methods with it and one among those without.

        Among the methods whose accuracy cannot be told apart from the highest, it is the one with the lowest distance.
        """
        limit = share * self.reference.seconds.value
        own = [p for p in self.points if not p.outcome.method.unguided and p.outcome.method.robust == robust]
        return self.best_of([point for point in own if point.seconds.value <= limit])

    def best_of(self, points: Sequence[Point]) -> Point | None:
        """Return the point whose outcome is the best, by the rule that picks a method's scale."""
        if not points:
            return None
        chosen = best([point.outcome for point in points])
        return next(point for point in points if point.outcome is chosen)


def accuracy_front(points: Sequence[Point], cost: Callable[[Point], float]) -> list[Point]:
    """Return the methods that no other beats in accuracy at the same cost or less, the cheapest first."""
    return front_of(points, cost, lambda point: point.outcome.accuracy.value)


def distance_front(points: Sequence[Point], cost: Callable[[Point], float]) -> list[Point]:
    """Return, in the same way, the methods that no other beats in distance to real images."""
    return front_of(points, cost, lambda point: -point.outcome.distance.value)


def front_of(points: Sequence[Point], cost: Callable[[Point], float], quality: Callable[[Point], float]) -> list[Point]:
    """Return the Pareto front of a cost (less is better) and a quality (more is better).

    The cheapest come first. Of methods that are equal in both, the first one stays.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (cost(point), -quality(point))):
        if not front or quality(point) > quality(front[-1]):
            front.append(point)
    return front
