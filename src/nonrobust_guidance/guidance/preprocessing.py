"""From images in [-1, 1] to what a classifier was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocessed(nn.Module):
    """A classifier behind a differentiable rescaling, resizing and normalization of its input."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, classifier: Callable[..., Tensor], size: tuple[int, int] | None, mean: Tensor, std: Tensor
    ) -> None:
        """Take the classifier, (H, W) or None, and mean and std (C, 1, 1); `preprocess` makes them."""
        super().__init__()
        self.classifier, self.size = classifier, size
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.noise_conditional = bool(getattr(classifier, "noise_conditional", False))
        self.train(isinstance(classifier, nn.Module) and classifier.training)

    def forward(self, x: Tensor, *t: Tensor) -> Tensor:
        """Map images (B, C, H, W) in [-1, 1] to the classifier's logits.

        Raises:
            ValueError: if the images have neither one channel nor as many as mean and std.
        """
        if x.shape[1] not in (1, len(self.mean)):
            raise ValueError(
                f"The images have {x.shape[1]} channels, and mean and std {len(self.mean)}; make them equal."
            )
        unit = (x + 1.0) / 2.0
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            unit = functional.interpolate(unit, self.size, mode="bilinear", antialias=True)
        return self.classifier((unit - self.mean.to(x.dtype)) / self.std.to(x.dtype), *t)


def preprocess(
    classifier: Callable[..., Tensor],
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> nn.Module:
    """Return the classifier of images in [-1, 1] that gives this one what it was trained on.

    The images (B, C, H, W) are mapped to [0, 1], resized (bilinear, antialiased) and normalized channel by channel;
    images of one channel are repeated for classifiers of three. All of it is differentiable.

    Args:
        classifier: such as a torchvision or timm model, in eval mode.
        size: height and width it was trained on, one number for both; left out, the images' own.
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
