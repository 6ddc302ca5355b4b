"""Classifiers as others write them: their layers, layouts, precisions and outputs, and what cannot guide.

transformers and timm are not installed here. What their classifiers return is stood in for by a dataclass in an
OrderedDict, read by name or by place, as transformers' ModelOutput is; diffusers' BaseOutput is the same container.
"""

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from diffusers.utils import BaseOutput
from torch import nn
from torchvision import models

import nonrobust_guidance as ng
from nonrobust_guidance.models.logits import classify
from nonrobust_guidance.sampling.noise import SampleNoise

SCHEDULE = ng.Schedule.linear(400, 1e-4, 0.05).respaced(4)
SHAPE = (3, 8, 8)


def denoiser(x, t):
    return 0.1 * x


def network(in_place=False):
    """Return a classifier of three classes whose first layer is a ReLU."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.ReLU(in_place), nn.Conv2d(3, 4, 3), nn.ReLU(in_place), nn.Flatten(), nn.Linear(144, 3)
    ).eval()


@pytest.fixture(scope="module")
def plain():
    return network()


def first_step(classifier, at="xt", denoiser=denoiser, target=1, **options):
    guidance = ng.ClassifierGuidance(classifier, target, 5.0, at=at)
    return next(ng.trajectory(denoiser, SCHEDULE, 2, guidance=guidance, shape=SHAPE, **options))


def gradient_by_hand(logits_of):
    """Return the gradient of log p(1) at the seed's x_T, in torch alone."""
    x = SampleNoise(0, range(2), SHAPE)(0).requires_grad_()
    return torch.autograd.grad(logits_of(x).float().log_softmax(1)[:, 1].sum(), x)[0]


@dataclass
class ImageClassifierOutput(BaseOutput):
    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple | None = None


class Wide(NamedTuple):
    logits: torch.Tensor
    aux_logits: torch.Tensor


OUTPUTS = {
    "transformers": lambda logits, x: ImageClassifierOutput(logits=logits, hidden_states=(x, x)),
    "return_dict=False": lambda logits, x: (logits, (x, x)),
    "return_dict=False, teacher": lambda logits, x: (logits, logits + 1.0, logits - 1.0),
    "inception": lambda logits, x: Wide(logits, logits + 1.0),
    "mapping": lambda logits, x: {"features": x, "logits": logits},
    "of convolutions alone": lambda logits, x: logits[:, :, None, None],
    "list": lambda logits, x: [logits],
}


@pytest.mark.parametrize("put", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("preprocessed", [False, True])
def test_logits_are_found_in_what_libraries_return(plain, put, preprocessed):
    def classifier(x):
        return put(plain(x), x)

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = gradient_by_hand(
        (lambda x: plain(((x + 1) / 2 - mean[:, None, None]) / std[:, None, None])) if preprocessed else plain
    )
    found = first_step(ng.preprocess(classifier) if preprocessed else classifier)
    torch.testing.assert_close(found.gradient, expected)


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (lambda logits, x: OrderedDict(out=x, aux=x), "OrderedDict with out, aux, in which there are no logits"),
        (lambda logits, x: ImageClassifierOutput(hidden_states=(x,)), "with hidden_states, in which there are no"),
        (lambda logits, x: ImageClassifierOutput(logits=x), r"returned \(2, 3, 8, 8\) for 2 images"),
        (lambda logits, x: [x, x[:, :, ::2, ::2]], r"returned \(2, 3, 8, 8\) for 2 images"),
        (lambda logits, x: (logits, x.flatten(1)), r"\(2, 3\), \(2, 192\), and it is open which"),
        (lambda logits, x: (), "tuple, in which there are no logits"),
        (lambda logits, x: None, "NoneType, in which there are no logits"),
        (lambda logits, x: logits.argmax(1), "torch.int64; logits are real"),
        (lambda logits, x: logits.to(torch.complex64), "torch.complex64; logits are real"),
        (lambda logits, x: logits > 0, "torch.bool; logits are real"),
    ],
)
def test_outputs_without_logits_are_refused(plain, put, message):
    with pytest.raises(ValueError, match=message):
        first_step(lambda x: put(plain(x), x))


class Viewed(nn.Module):
    def __init__(self, first):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = first, nn.Linear(4 * 36 if isinstance(first, nn.Conv2d) else 192, 3)

    def forward(self, x):
        x = self.first(x)
        return self.last(x.view(x.size(0), -1))


@pytest.mark.parametrize("first", [nn.Identity(), nn.Conv2d(3, 4, 3)], ids=["input", "features"])
def test_a_network_that_uses_view_is_preprocessed(first):
    inner = Viewed(first).eval()
    expected = gradient_by_hand(lambda x: inner((x + 1) / 2))
    found = first_step(ng.preprocess(inner, mean=(0.0,) * 3, std=(1.0,) * 3))
    torch.testing.assert_close(found.gradient, expected)
    noise = torch.randn(2, *SHAPE).contiguous(memory_format=torch.channels_last)
    assert first_step(inner, noise=lambda k: noise).gradient.isfinite().all()


def test_networks_of_torchvision_get_channels_last():
    seen = []
    inner = models.mobilenet_v3_small(num_classes=3).eval()
    inner.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    ng.preprocess(inner, size=32)(torch.zeros(2, 3, 8, 8))
    assert seen[0].is_contiguous(memory_format=torch.channels_last) and not seen[0].is_contiguous()


@pytest.mark.parametrize("at", ["xt", "x0", "x0_detached"])
def test_layers_in_place_change_nothing(plain, at):
    steps = [
        list(ng.trajectory(denoiser, SCHEDULE, 2, guidance=ng.ClassifierGuidance(c, 1, 5.0, at=at), shape=SHAPE))
        for c in (plain, network(in_place=True), ng.preprocess(network(in_place=True), mean=(0.5,) * 3, std=(0.5,) * 3))
    ]
    for expected, found, preprocessed in zip(*steps, strict=True):
        assert torch.equal(expected.x, found.x)
        torch.testing.assert_close(expected.x, preprocessed.x)


def test_a_denoiser_may_work_in_place():
    images = ng.sample(lambda x, t: x.mul_(0.1), SCHEDULE, 2, shape=SHAPE)
    assert torch.equal(images, ng.sample(denoiser, SCHEDULE, 2, shape=SHAPE))


@pytest.mark.parametrize("preprocessed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_guide(plain, dtype, preprocessed):
    low = copy.deepcopy(plain).to(dtype)
    classifier = ng.preprocess(low, mean=(0.5,) * 3, std=(0.5,) * 3) if preprocessed else low
    step = first_step(classifier)
    assert step.gradient.dtype == step.x.dtype == torch.float32
    assert classify(classifier, torch.zeros(2, *SHAPE)).dtype == torch.float32
    torch.testing.assert_close(step.gradient, gradient_by_hand(lambda x: low(x.to(dtype))))
    assert first_step(classifier, dtype=torch.float64).gradient.dtype == torch.float64


def test_a_denoiser_of_low_precision_runs_in_its_own():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.1, dtype=torch.bfloat16))

        def forward(self, x, t):
            assert x.dtype == torch.bfloat16
            return self.weight * x

    step = first_step(network(), "x0", Half().eval())
    assert step.x.dtype == step.gradient.dtype == torch.float32


KINDS = {
    "scripted": torch.jit.script,
    "frozen": lambda network: torch.jit.freeze(torch.jit.script(network)),
    "traced": lambda network: torch.jit.trace(network, torch.zeros(2, *SHAPE)),
    "compiled": lambda network: torch.compile(network, backend="eager"),
    "parallel": lambda network: nn.DataParallel(network).eval(),
    "function": lambda network: lambda x: network(x),
    "with dropout": lambda network: nn.Sequential(network, nn.Dropout(0.5)).eval(),
}


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_kinds_of_modules_guide(kind):
    expected = first_step(network(), "x0").gradient
    torch.testing.assert_close(first_step(kind(network(in_place=True)), "x0").gradient, expected)
    assert not ng.preprocess(kind(network())).training


def with_layer_in_training():
    classifier = nn.Sequential(network(), nn.BatchNorm1d(3)).eval()
    classifier[1].train()
    return classifier


def vision_transformer():
    return models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=4, num_classes=3
    ).eval()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda plain: nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten()).eval(), r"\(2, 3, 8, 8\).*have 1 channels"),
        (lambda plain: vision_transformer(), "Expected 32 but got 8!.*ng.preprocess"),
        (lambda plain: lambda x: copy.deepcopy(plain).to("meta")(x), "cannot take images .* on cpu .*meta"),
        (lambda plain: lambda x: plain(x.detach()), "does not depend on its images; leave out its detach"),
        (
            lambda plain: nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Sigmoid(), nn.ReLU(True)).eval(),
            "No gradient runs back through the classifier .*inplace=False",
        ),
        (lambda plain: with_layer_in_training(), "layer 1 is in training mode"),
    ],
)
def test_what_cannot_guide_is_named(plain, make, message):
    with pytest.raises(ValueError, match=message) as caught:
        first_step(make(plain))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", ["xt", "x0"])
def test_inference_mode_is_named(plain, at):
    with torch.inference_mode():
        made = network()
        noise = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
        with pytest.raises(ValueError, match=r"inside torch\.inference_mode; use torch\.no_grad"):
            first_step(plain, at)
    for classifier in (made, ng.preprocess(made)):
        with pytest.raises(ValueError, match=r"classifier's weights were made inside torch\.inference_mode"):
            first_step(classifier, at)
    # Noise made there is no weight, and can be used.
    expected = first_step(plain, at, noise=lambda k: noise.clone()).gradient
    assert torch.equal(first_step(plain, at, noise=lambda k: noise).gradient, expected)


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.1))

    def forward(self, x, t):
        return self.weight * x


def test_a_denoiser_made_in_inference_mode_guides_without_its_gradient(plain):
    with torch.inference_mode():
        made = Weighted().eval()
    with pytest.raises(ValueError, match=r"denoiser's weights were made inside torch\.inference_mode"):
        first_step(plain, "x0", made)
    expected = first_step(plain, "x0_detached", Weighted().eval()).x
    assert torch.equal(first_step(plain, "x0_detached", made).x, expected)


def with_an_infinite_slope(x):
    x = x.flatten(1)[:, :3]
    return (x - x.detach()).sqrt()  # zeros


@pytest.mark.parametrize(
    ("classifier", "denoiser", "at", "cause"),
    [
        (lambda x: network()(x) * float("nan"), denoiser, "x0", "the classifier's logits are not"),
        (network(), lambda x, t: x * float("nan"), "x0", "the image that the classifier is given is not"),
        (with_an_infinite_slope, denoiser, "xt", "lower the scale"),
    ],
)
def test_the_cause_of_a_gradient_that_is_not_finite_is_named(classifier, denoiser, at, cause):
    with pytest.raises(ng.NonFiniteGradientError, match=rf"sample 0 is not finite at step 1 .*{cause}"):
        first_step(classifier, at, denoiser)


def test_logits_that_are_not_finite_do_not_hide_behind_a_zero_gradient():
    def classifier(x):
        return torch.relu(x.flatten(1)[:, :3] - 1e6) * float("nan")

    with pytest.raises(ng.NonFiniteGradientError, match="the classifier's logits are not"):
        first_step(classifier)
    guidance = ng.ClassifierGuidance(classifier, 1, 1.0, at="xt", on_nonfinite="skip")
    steps = ng.trajectory(denoiser, SCHEDULE, 2, guidance=guidance, shape=SHAPE)
    assert next(steps).skipped.all()
