"""Spoilt and jittered canvases against torchvision's blur and against what each must show."""

import torch
from torchvision.transforms.v2 import functional as TF

from nonrobust_guidance.models.canvases import blank, gaussian_blur, jitter, shrink, spoil, tint


def a_disc(batch: int = 6, size: int = 32) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = (x - 15.5).square() + (y - 15.5).square() < 64
    return torch.where(disc, -0.5, 1.0).expand(batch, 3, size, size).clone()


def test_blur_agrees_with_torchvision_away_from_the_border() -> None:
    x = torch.rand(2, 3, 32, 32)
    ours = gaussian_blur(x, torch.tensor([0.8, 1.5]))
    for i, sigma in enumerate([0.8, 1.5]):
        theirs = TF.gaussian_blur(x[i], kernel_size=[11, 11], sigma=[sigma, sigma])
        torch.testing.assert_close(ours[i, :, 6:-6, 6:-6], theirs[:, 6:-6, 6:-6], atol=2e-3, rtol=0)


def test_jitter_is_mild_and_spoiling_is_not() -> None:
    x = a_disc(200)
    generator = torch.Generator().manual_seed(0)
    mild = (jitter(x, generator) - x).square().mean((1, 2, 3)).sqrt()
    strong = (spoil(x + 0.02 * torch.randn(x.shape), generator) - x).square().mean((1, 2, 3)).sqrt()
    assert mild.max() < 0.15
    assert strong.median() > 0.3


def test_blank_is_one_colour_and_tint_darkens_a_channel() -> None:
    x, generator = a_disc(50), torch.Generator().manual_seed(0)
    assert (blank(x, generator).flatten(2).std(2) < 1e-6).all()
    assert (tint(x, generator).amin((1, 2, 3)) <= -0.2).all()


def test_shrink_keeps_the_centre_and_scales_the_area() -> None:
    x, generator = a_disc(100), torch.Generator().manual_seed(0)
    area = (1 - shrink(x, generator)).sum((1, 2, 3)) / (1 - x).sum((1, 2, 3))
    assert (area > 0.1 * 0.15**2).all()
    assert (area < 1.3 * 0.4**2).all()


def test_the_same_generator_spoils_the_same_way() -> None:
    x = a_disc()
    first, second = (spoil(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
