"""Rejection sampling: only the samples, unguided or guided, that a classifier accepts are kept."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nonrobust_guidance.devices import in_float64
from nonrobust_guidance.guidance.gradients import require_evaluation_mode
from nonrobust_guidance.guidance.method import Classifier, Guidance, require_count, require_target, targets_of
from nonrobust_guidance.guidance.objectives import target_objective
from nonrobust_guidance.models.logits import classify
from nonrobust_guidance.sampling.denoiser import Denoiser, image_shape, network_device, same_device
from nonrobust_guidance.sampling.microbatches import Microbatch, join, microbatch_size, split_padded
from nonrobust_guidance.sampling.noise import SampleNoise
from nonrobust_guidance.sampling.sample import sample_counted
from nonrobust_guidance.sampling.trajectory import require_runnable
from nonrobust_guidance.schedule import Schedule

STEPS = 2**32  # more than any chain has; k and the attempt share a word of 64 bits


class RejectionSamples(NamedTuple):
    """Images, which of them were accepted, and what they cost; all but the images are on the CPU."""

    images: Tensor
    """(N, C, H, W): the first accepted attempt; where none was, the one with the highest probability."""
    accepted: Tensor
    """(N,) bool."""
    draws: Tensor
    """(N,) int64: attempts up to and including the accepted one; ``max_draws`` where none was."""
    probabilities: Tensor
    """(N,) float64: what the classifier gives the target, for these images."""


@dataclass(frozen=True, eq=False)
class Rejection:
    """Draws samples until the classifier gives the target at least a probability.

    Each sample has a sequence of attempts of its own, and the first accepted one is kept. So the images have the
    distribution of the attempts, conditional on acceptance, and the number of draws is geometric with the probability
    of acceptance. Unguided attempts are the baseline of guidance: K draws on average, for K classes that are equally
    frequent and well apart. Guided attempts are mostly accepted at once. Guidance can then be gentler and fail now and
    then, because a failed sample is drawn again. Where classes overlap, the images are those of which the classifier is
    sure, not all kinds of images of the target.

    Attributes:
        classifier: of clean images, as `ClassifierGuidance` takes it. One that takes t gets the smallest t of the
            schedule; an `augmented` one gets seeded noise.
        target: the class, an int, or a LongTensor (N,) with one for each sample.
        threshold: least probability of the target, within 0 .. 1.
        guidance: what guides the attempts; the target given here replaces its own. None for unguided attempts.

    Raises:
        TypeError: if the classifier is not callable or the target no integer.
        ValueError: if the threshold is out of its range, or the classifier is in training mode.
    """

    classifier: Classifier
    target: int | Tensor
    threshold: float = 0.5
    guidance: Guidance | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        if not callable(self.classifier):
            raise TypeError(f"The classifier, a {type(self.classifier).__name__}, is not callable.")
        require_target(self.target)
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}; it must be a probability, within 0 .. 1.")
        require_evaluation_mode(self.classifier)

    def sample(
        self,
        denoiser: Denoiser,
        schedule: Schedule,
        num_samples: int,
        seed: int = 0,
        *,
        max_draws: int = 100,
        batch_size: int | None = None,
        first_index: int = 0,
        shape: tuple[int, int, int] | None = None,
        microbatch: Microbatch = "auto",
        **options: Any,
    ) -> RejectionSamples:
        """Return N images, and for each whether it was accepted and after how many draws.

        Attempt j of sample i is a function of (seed, i, j), and attempt 0 is sample i of `sample`. So what is kept does
        not depend on how the samples of a seed are divided into batches or jobs, wherever the bits of an image do not
        depend on its batch; see ``microbatch`` in `trajectory`. Only samples not yet accepted are drawn again. Where
        they do not fill a microbatch, or a batch whose size was given, it is filled with further attempts at them;
        attempts after an accepted one are dropped and not counted.

        Args:
            denoiser: a diffusers UNet2DModel or any callable (x_t, t) -> output.
            schedule: the levels, one reverse step each.
            num_samples: N.
            seed: determines all noise, with the sample's index, its attempt and the step.
            max_draws: attempts of a sample at most. If one is accepted with probability p, then all of them fail with
                probability ``(1 - p)^max_draws``: with 100 and p = 1/10, for one sample in 40,000.
            batch_size: how many attempts are drawn together, which may be more than N; left out, as many whole
                microbatches as the waiting samples fill.
            first_index: index of the first sample, so that jobs may share the samples of one seed.
            shape: (C, H, W); left out, the model's own.
            microbatch: how many images the networks see at a time, see `microbatch_size`.
            **options: of `trajectory`: sampler, eta, use_clipped_model_output, clip, autocast, dtype, device.

        Raises:
            TypeError: if guidance, which is a field, or noise are among the options.
            ValueError: as `sample`, or if the classifier fails, or its logits are not finite.

        Warns:
            RuntimeWarning: if samples were not accepted; the others are returned with them.
        """
        for name in sorted({"guidance", "noise"} & set(options)):
            remedy = "give it as Rejection(..., guidance=...)" if name == "guidance" else "leave it out"
            raise TypeError(f"Rejection draws its attempts from seeded noise and takes no {name} here; {remedy}.")
        require_count("max_draws", max_draws)
        if batch_size is not None:
            require_count("batch_size", batch_size)
        require_runnable(schedule, num_samples, seed, first_index, options.get("dtype", torch.float32))
        place = network_device(denoiser, options.get("device"))
        if isinstance(self.classifier, nn.Module):
            same_device("classifier", self.classifier, place)
        size, targets = image_shape(denoiser, shape), targets_of(self.target, num_samples)
        candidates = [Candidate() for _ in range(num_samples)]
        rows = microbatch_size(microbatch, denoiser, num_samples, size, place)
        while attempts := self._next_attempts(candidates, rows, batch_size, max_draws):
            noise = AttemptNoise(seed, [(first_index + i, attempt) for i, attempt in attempts], size)
            wanted = targets[[i for i, _ in attempts]]
            guidance = self.guidance and replace(self.guidance, target=wanted)
            images, _ = sample_counted(
                denoiser, schedule, len(attempts), seed,
                guidance=guidance, noise=noise, shape=size, microbatch=microbatch, **options,
            )  # fmt: skip
            rows = microbatch_size(microbatch, denoiser, len(attempts), size, place)
            probabilities = self._probabilities(images, wanted, schedule, noise, rows)
            for (i, _), image, probability in zip(attempts, images, probabilities.tolist(), strict=True):
                if not self._accepts(candidates[i]):
                    candidates[i].consider(image, probability)
        return self._collect(candidates)

    def _accepts(self, candidate: Candidate) -> bool:
        return candidate.probability >= self.threshold

    def _next_attempts(
        self, candidates: Sequence[Candidate], rows: int, batch_size: int | None, max_draws: int
    ) -> list[tuple[int, int]]:
        """Return pairs of a waiting sample and the number of its attempt, the nearest attempts first.

        Not more than ``batch_size`` of them; where that is None, than whole microbatches of ``rows`` hold.
        """
        waiting = [i for i, candidate in enumerate(candidates) if not self._accepts(candidate)]
        size = batch_size or math.ceil(len(waiting) / rows) * rows
        attempts = (
            (i, candidates[i].draws + ahead)
            for ahead in range(max_draws)
            for i in waiting
            if candidates[i].draws + ahead < max_draws
        )
        return list(islice(attempts, size))

    @torch.no_grad()
    def _probabilities(
        self, images: Tensor, targets: Tensor, schedule: Schedule, noise: AttemptNoise, rows: int
    ) -> Tensor:
        """Return the target's probability for each image, (B,) float64, from parts of ``rows`` images."""
        told = bool(getattr(self.classifier, "noise_conditional", False))
        t = torch.full((rows,), int(schedule.timesteps[0]), device=images.device)
        # A step number that the chain does not have, so that nothing else uses its noise.
        draws = range(1, 1 + getattr(self.classifier, "num_noise_draws", 0))
        augment = [noise(len(schedule) + 1, "augment", 1, m).to(images) for m in draws]
        parts = []
        for x, target, *z in zip(*(split_padded(part, rows) for part in (images, targets, *augment)), strict=True):
            logits = classify(self.classifier, x, *([t] if told else []), noise=z)
            parts.append(target_objective(in_float64(logits), target, "log_prob").exp())
        probabilities = join(parts, len(images))
        if not bool(probabilities.isfinite().all()):
            raise ValueError("The classifier's logits are not finite; check its weights and precision.")
        return probabilities

    def _collect(self, candidates: Sequence[Candidate]) -> RejectionSamples:
        accepted = torch.tensor([self._accepts(candidate) for candidate in candidates])
        missing = int((~accepted).sum())
        if missing:
            warnings.warn(
                f"{missing} of {len(candidates)} samples were not accepted within max_draws; see accepted, and "
                "raise max_draws or lower the threshold.",
                RuntimeWarning,
                stacklevel=3,
            )
        return RejectionSamples(
            torch.stack([candidate.image for candidate in candidates]),
            accepted,
            torch.tensor([candidate.draws for candidate in candidates]),
            torch.tensor([candidate.probability for candidate in candidates], dtype=torch.float64),
        )


@dataclass
class Candidate:
    """The best attempt of a sample so far: the accepted one, once there is one.

    Attributes:
        image: (C, H, W), empty before the first attempt.
        probability: of the target; -1 before the first attempt.
        draws: number of attempts so far.
    """

    image: Tensor = field(default_factory=lambda: torch.empty(0))
    probability: float = -1.0
    draws: int = 0

    def consider(self, image: Tensor, probability: float) -> None:
        """Count an attempt, and keep its image (C, H, W) if it is the best so far."""
        self.draws += 1
        if probability > self.probability:
            self.image, self.probability = image.clone(), probability  # a view would keep its whole batch in memory


@dataclass(frozen=True)
class AttemptNoise:
    """Noise of attempts: each attempt has its own, and attempt 0 has that of `SampleNoise`.

    The attempt is stored in the upper half of the step number k; no chain needs more than the lower half.

    Attributes:
        seed: 0 .. 2^64 - 1.
        attempts: pairs of a sample's index and the number of its attempt, 0 .. 2^32 - 1.
        shape: (C, H, W).
    """

    seed: int
    attempts: Sequence[tuple[int, int]]
    shape: tuple[int, ...]

    def __call__(self, k: int, *use: Any) -> Tensor:
        """Return the noise (B, C, H, W), float32; see `Noise`."""
        rows = [
            SampleNoise(self.seed, [index], self.shape)(k + attempt * STEPS, *use) for index, attempt in self.attempts
        ]
        return torch.cat(rows)
