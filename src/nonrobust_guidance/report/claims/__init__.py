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
from nonrobust_guidance.report.claims.verdict import Finding, Groups, Verdict
from nonrobust_guidance.report.results import ALL_TARGETS, Results
from nonrobust_guidance.report.wording import X0_HAT, X_T


class Claim(NamedTuple):
    """One of the paper's claims, what decides it in words, and the function that decides it.

    Attributes:
        text: the claim in a sentence.
        test: what has to be so for it to be supported.
        decide: says which it is, and from what numbers.
        by_target: whether it has an answer for each target; else it is about the classifiers alone.
    """

    text: str
    test: str
    decide: Callable[[Groups], Finding]
    by_target: bool = True


CLAIMS = (
    Claim(
        "A classifier trained on clean images loses its accuracy under noise; one trained on noised images keeps it.",
        f"At some noise level the non-robust classifier's accuracy on {X_T} is below halfway from chance to its own "
        "accuracy on the cleanest images, and the robust one's is not.",
        under_noise,
        by_target=False,
    ),
    Claim(
        "The gradients of the non-robust classifier are unstable.",
        f"On {X_T} its gradient moves more than the robust one's: from one noise level to the next, per unit of change "
        f"of the image or of its own length, at more than {100 * MOST_LEVELS:.0f}% of the levels, or from one step of "
        "guided trajectories to the next (a lower cosine); and in none of these less.",
        unstable_gradients,
    ),
    Claim(
        f"Classifying the one-step denoised image {X0_HAT} helps.",
        f"The held-out accuracy is higher than on {X_T}, and above halfway from unguided to robust guidance.",
        denoising_helps,
    ),
    Claim(
        "Stabilizing the gradient (EMA, Adam) helps further.",
        f"Some stabilized method is better than {X0_HAT} alone in held-out accuracy or in distance, and worse in "
        "neither.",
        stabilizing_helps,
    ),
    Claim(
        f"Denoised and stabilized, the accuracy is above {100 * HIGH_ACCURACY:.0f}%.",
        f"The guide itself calls more than {100 * HIGH_ACCURACY:.0f}% of the samples the target, which is how the "
        "paper measures.",
        accuracy_is_high,
    ),
    Claim(
        "Denoised and stabilized, the conditional Fréchet distance is near the robust classifier's.",
        f"Counted from what as many real test images score, it is at most {NEAR_DISTANCE:g} times the robust "
        "classifier's, in every kind of features that the run has.",
        distance_is_near,
    ),
    Claim(
        "Denoised and stabilized, the samples stay diverse.",
        f"Recall, coverage and the spread of what the class does not determine are at least {KEPT:g} times those of "
        "robust guidance and of real test images, as far as the run measures them.",
        diversity_is_kept,
    ),
    Claim(
        "Without stabilization colours shift and images degrade.",
        "The colour shift, or the share that the judge calls none of these, grows from the smallest to the largest "
        "scale, and is there above that of the best stabilized method at its own largest scale; and for neither is "
        "the opposite so.",
        degrades_without_stabilizing,
    ),
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
