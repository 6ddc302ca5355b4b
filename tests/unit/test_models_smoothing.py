"""Smoothed copies: what is replaced by what, and that nothing else changes."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import models

import nonrobust_guidance as ng
from nonrobust_guidance.sampling.noise import SampleNoise

SHAPE = (3, 8, 8)
SCHEDULE = ng.Schedule.linear(400, 1e-4, 0.05).respaced(4)


def denoiser(x, t):
    return 0.1 * x


def network(seed=0, num_logits=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, num_logits)).eval()


def images(count=5, seed=0):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_a_smoothed_copy_has_softplus_and_leaves_the_original():
    plain = network()
    before, state = plain(images()), copy.deepcopy(plain.state_dict())
    smooth = ng.smoothed(plain)
    hidden = plain[0](images())
    expected = plain[3]((torch.log1p(torch.exp(3.0 * hidden)) / 3.0).flatten(1))
    torch.testing.assert_close(smooth(images()), expected)
    assert isinstance(plain[1], nn.ReLU) and torch.equal(plain(images()), before)
    with torch.no_grad():
        smooth[3].weight.zero_()
    assert all(torch.equal(plain.state_dict()[name], tensor) for name, tensor in state.items())


KINDS = {
    nn.ReLU: lambda x, softplus: softplus(x),
    nn.ReLU6: lambda x, softplus: softplus(x) - softplus(x - 6),
    nn.Hardsigmoid: lambda x, softplus: (softplus(x + 3) - softplus(x - 3)) / 6,
    nn.Hardswish: lambda x, softplus: x * (softplus(x + 3) - softplus(x - 3)) / 6,
}


@pytest.mark.parametrize("kind", KINDS)
def test_activations_made_of_relus_are_smoothed_and_sharpen_to_themselves(kind):
    x = torch.linspace(-8, 8, 401, dtype=torch.float64)
    expected = KINDS[kind](x.numpy(), lambda v: np.logaddexp(0, 2.0 * v) / 2.0)
    np.testing.assert_allclose(ng.smoothed(nn.Sequential(kind()), beta=2.0)(x), expected, atol=1e-8)
    torch.testing.assert_close(ng.smoothed(nn.Sequential(kind()), beta=1e4)(x), kind()(x), atol=1e-3, rtol=0)


def test_the_gradient_of_a_smoothed_copy_does_not_jump():
    def jump(layer, at):
        left, right = ((torch.tensor(at + h, dtype=torch.float64).requires_grad_()) for h in (-1e-6, 1e-6))
        slopes = [torch.autograd.grad(layer(x), x)[0].item() for x in (left, right)]
        return abs(slopes[1] - slopes[0])

    for kind, at in ((nn.ReLU, 0.0), (nn.ReLU6, 6.0), (nn.Hardswish, 3.0), (nn.Hardsigmoid, -3.0)):
        assert jump(kind(), at) > 0.1
        assert jump(ng.smoothed(nn.Sequential(kind())), at) < 1e-5


def test_a_network_of_torchvision_is_smoothed_throughout():
    plain = ng.preprocess(models.mobilenet_v3_small(num_classes=3).eval(), size=32)
    smooth = ng.smoothed(plain)
    kinds = {type(layer) for layer in smooth.modules()}
    assert not kinds & set(KINDS) and kinds & {nn.Softplus}
    assert not any(layer.training for layer in smooth.modules())
    assert smooth.of_torchvision and plain.of_torchvision  # which get their images channels last
    assert smooth(torch.zeros(2, 3, 8, 8)).isfinite().all()


def test_a_layer_in_several_places_is_smoothed_in_each():
    relu, block = nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    smooth = ng.smoothed(nn.ModuleDict({"a": relu, "b": nn.Sequential(relu, relu), "c": block, "d": block}))
    assert not [layer for layer in smooth.modules() if isinstance(layer, nn.ReLU)]
    assert smooth["c"] is smooth["d"]


def test_a_smoothed_classifier_guides_along_its_own_gradient():
    plain = network()
    x = SampleNoise(0, range(2), SHAPE)(0).requires_grad_()
    logits = plain[3](functional.softplus(plain[0](x), beta=3.0).flatten(1))
    (expected,) = torch.autograd.grad(logits.log_softmax(1)[:, 1].sum(), x)
    guidance = ng.ClassifierGuidance(ng.smoothed(plain), 1, 5.0, at="xt")
    step = next(ng.trajectory(denoiser, SCHEDULE, 2, guidance=guidance, shape=SHAPE))
    torch.testing.assert_close(step.gradient, expected)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ng.smoothed(lambda x: x), TypeError, "function, is no torch module"),
        (lambda: ng.smoothed(nn.Linear(2, 2)), ValueError, r"no layer to smooth \(nn.ReLU, .*functional cannot be"),
        (lambda: ng.smoothed(network(), beta=0.0), ValueError, "beta is 0.0"),
        (lambda: ng.smoothed(network(), beta=math.inf), ValueError, "beta is inf"),
    ],
)
def test_what_cannot_be_is_named(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value) and str(caught.value).count("The classifier cannot") <= 1
