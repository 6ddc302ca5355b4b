"""From images in [-1, 1] to what a classifier was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nonrobust_guidance.models.logits import CompositeClassifier, classify, in_training_mode

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocessed(CompositeClassifier):
    """A classifier of images in [-1, 1] behind a differentiable resizing and normalization of its input.

    On a CPU a network of torchvision gets the images channels last, a third faster there, forward and backward. Other
    networks may use view(), so they get the contiguous layout that it needs.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        network: Callable[..., Any],
        size: tuple[int, int] | None,
        mean: Tensor | None = None,
        std: Tensor | None = None,
    ) -> None:
        """Take the classifier, (H, W) or None, and mean and std (C, 1, 1), None for one that takes [-1, 1] itself."""
        super().__init__()
        self.network, self.size = network, size
        self.of_torchvision = type(network).__module__.startswith("torchvision.models.")
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.noise_conditional = bool(getattr(network, "noise_conditional", False))
        self.num_noise_draws = int(getattr(network, "num_noise_draws", 0))
        self.training = in_training_mode(network)

    def forward(self, x: Tensor, *t: Tensor, noise: Sequence[Tensor] = ()) -> Tensor:
        """Map images (B, C, H, W) in [-1, 1] to the classifier's logits, in the dtype of the images.

        t and noise are passed on.

        Raises:
            ValueError: if the images have neither one channel nor as many as mean and std, or as `classify`.
        """
        if self.mean is None or self.std is None:
            x = self._resize(x)
        elif x.shape[1] in (1, len(self.mean)):
            x = (self._resize((x + 1.0) / 2.0) - self.mean.to(x.dtype)) / self.std.to(x.dtype)
        else:
            raise ValueError(
                f"The images have {x.shape[1]} channels, and mean and std {len(self.mean)}; make them equal."
            )
        channels_last = self.of_torchvision and x.device.type == "cpu"
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return classify(self.network, x, *t, layout=layout, noise=noise)

    def _resize(self, x: Tensor) -> Tensor:
        if self.size is None or tuple(x.shape[-2:]) == self.size:
            return x
        # Where nothing shrinks, antialiasing averages nothing, and the plain form gives the same result.
        shrinks = self.size[0] < x.shape[-2] or self.size[1] < x.shape[-1]
        return functional.interpolate(x, self.size, mode="bilinear", antialias=shrinks)


def preprocess(
    classifier: Callable[..., Any],
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Preprocessed:
    """Return a classifier of images in [-1, 1] that gives this one the inputs it was trained on.

    The images (B, C, H, W) are mapped to [0, 1], resized (bilinear, antialiased) and normalized channel by channel;
    images of one channel are repeated for classifiers of three. All of it is differentiable.

    Args:
        classifier: such as a model of torchvision, timm or transformers, in eval mode and of any precision; for what it
            may return, see `logits_of`.
        size: height and width it was trained on, one number for both; by default the images' own.
        mean: of each channel in [0, 1]; ImageNet's if left out.
        std: of each channel, greater than 0; ImageNet's if left out.

    Raises:
        ValueError: if a number is out of its range, or mean and std differ in length.
    """
    pair = (size, size) if isinstance(size, int) else size
    if pair is not None and (len(pair) != 2 or min(pair) < 1):
        raise ValueError(f"size is {size}; give a number of pixels, or (height, width).")
    if len(mean) != len(std) or not all(s > 0 for s in std):
        raise ValueError(f"mean is {tuple(mean)} and std {tuple(std)}; give one of each a channel, std greater than 0.")
    columns = (torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1) for values in (mean, std))
    return Preprocessed(classifier, pair, *columns)
