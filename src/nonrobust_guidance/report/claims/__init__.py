"""The paper's eight claims: what each says, what decides it here, and this run's verdict; computed, never typed.

Each method counts at its chosen scale (`metrics.choice`), unless the test says otherwise. Methods are compared sample
by sample, and the verdicts of a family hold together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nonrobust_guidance.metrics.tables import NOT_TESTED
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
from nonrobust_guidance.report.claims.verdict import SENTENCES, Finding, Groups, Verdict, decide_together
from nonrobust_guidance.report.results import ALL_TARGETS, Results
from nonrobust_guidance.report.templates import say


class Claim(NamedTuple):
    """One of the paper's claims, and the function that decides it.

    Attributes:
        name: of its sentences.
        decide: returns the finding, and the numbers it rests on.
        by_target: whether it has an answer for each target; if not, it is about the classifiers alone.
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
"""What the numbers are compared with, as text for the sentences."""
ALL_IMAGES = "all images"
"""The target of a claim about the classifiers alone."""
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
    """Return the verdict on each of the eight claims: over all targets first, then target by target.

    Those over all targets are decided together, and so are those of single targets.
    """
    targets = [ALL_TARGETS, *results.targets] if len(results.targets) > 1 else results.targets
    groups = {target: Groups(results, target) for target in targets}
    found = [
        _undecided(number, claim, target, claim.decide(groups[target]))
        for number, claim in enumerate(CLAIMS, start=1)
        for target in (targets if claim.by_target else targets[:1])
    ]
    overall = [verdict for verdict in found if verdict.target in (targets[0], ALL_IMAGES)]
    single = [verdict for verdict in found if verdict not in overall]
    decided = {(v.number, v.target): v for family in (overall, single) for v in decide_together(family)}
    return [decided[verdict.number, verdict.target] for verdict in found]


def _undecided(number: int, claim: Claim, target: str, finding: Finding) -> Verdict:
    about = target if claim.by_target else ALL_IMAGES
    return Verdict(number, claim.text, claim.test, about, NOT_TESTED, finding.evidence, finding.tested)
