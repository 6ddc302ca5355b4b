"""The paper's eight claims: what each says, what decides it here, and what this run says of it; computed, never typed.

Each method enters with its best scale (`results.best`), unless the test says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nonrobust_guidance.report.claims.classifiers import MOST_LEVELS, under_noise, unstable_gradients
from nonrobust_guidance.report.claims.guidance import (
    HIGH_ACCURACY,
    NEAR_DISTANCE,
    accuracy_is_high,
    denoising_helps,
    distance_is_near,
    stabilizing_helps,
)
from nonrobust_guidance.report.claims.images import KEPT, degrades_without_stabilizing, diversity_is_kept
from nonrobust_guidance.report.claims.verdict import SENTENCES, Finding, Groups, Verdict
from nonrobust_guidance.report.results import ALL_TARGETS, Results
from nonrobust_guidance.report.templates import say


class Claim(NamedTuple):
    """One of the paper's claims, and the function that decides it.

    Attributes:
        name: of its sentences.
        decide: says which it is, and from what numbers.
        by_target: whether it has an answer for each target; else it is about the classifiers alone.
    """

    name: str
    decide: Callable[[Groups], Finding]
    by_target: bool = True

    @property
    def text(self) -> str:
        """The claim in a sentence."""
        return say(SENTENCES, f"{self.name}_claim")

    @property
    def test(self) -> str:
        """What has to be so for it to be supported."""
        return say(SENTENCES, f"{self.name}_test", limits=LIMITS)


LIMITS = {
    "most_levels": f"{100 * MOST_LEVELS:.0f}%",
    "high_accuracy": f"{100 * HIGH_ACCURACY:.0f}%",
    "near_distance": f"{NEAR_DISTANCE:g}",
    "kept": f"{KEPT:g}",
}
"""What the numbers are compared with, as the sentences say it."""
CLAIMS = (
    Claim("under_noise", under_noise, by_target=False),
    Claim("unstable_gradients", unstable_gradients),
    Claim("denoising_helps", denoising_helps),
    Claim("stabilizing_helps", stabilizing_helps),
    Claim("accuracy_is_high", accuracy_is_high),
    Claim("distance_is_near", distance_is_near),
    Claim("diversity_is_kept", diversity_is_kept),
    Claim("degrades_without_stabilizing", degrades_without_stabilizing),
)


def decide_claims(results: Results) -> list[Verdict]:
    """Return the verdict on each of the eight claims: over all targets first, then target by target."""
    targets = [ALL_TARGETS, *results.targets] if len(results.targets) > 1 else results.targets
    groups = {target: Groups(results, target) for target in targets}
    return [
        Verdict(i, claim.text, claim.test, target if claim.by_target else "all images", *claim.decide(groups[target]))
        for i, claim in enumerate(CLAIMS, start=1)
        for target in (targets if claim.by_target else targets[:1])
    ]
