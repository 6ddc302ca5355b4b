"""Ensembles: which probabilities they give, and who their members may be."""

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

import nonrobust_guidance as ng
from nonrobust_guidance.guidance.objectives import target_objective
from nonrobust_guidance.models.logits import classify
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


def constant(logits):
    """Return a classifier that gives every image these logits."""
    return lambda x: torch.tensor(logits).expand(len(x), *np.shape(logits)) + 0.0 * x.sum()


def test_an_ensemble_averages_log_probabilities_and_normalizes_them():
    # Worked by hand: probabilities (1/2, 1/4, 1/4) and (1/8, 1/8, 3/4), of which one comes with shifted logits.
    first = constant((np.log([0.5, 0.25, 0.25]) + 7.0).tolist())
    second = constant(np.log([0.125, 0.125, 0.75]).tolist())
    product = np.sqrt([0.5 * 0.125, 0.25 * 0.125, 0.25 * 0.75])
    found = ng.ensemble([first, second])(images(2)).softmax(1)
    np.testing.assert_allclose(found, np.tile(product / product.sum(), (2, 1)), rtol=1e-6)


@pytest.mark.parametrize("objective", ["log_prob", "logit"])
@pytest.mark.parametrize("num_logits", [1, 2, 3])
def test_an_ensemble_of_one_is_that_one(objective, num_logits):
    member, target = network(num_logits=num_logits), torch.tensor([0, 1, 1, 0, 1])
    found = target_objective(ng.ensemble([member])(images()), target, objective)
    torch.testing.assert_close(found, target_objective(member(images()), target, objective))


@pytest.mark.parametrize("one", [0.5, [0.5]], ids=["(B,)", "(B, 1)"])
def test_one_logit_and_two_agree(one):
    # sigmoid(0.5) and softmax(1, 3), so the log-odds are 0.5 and 2.
    logits = ng.ensemble([constant(one), constant([1.0, 3.0])])(images(2))
    assert logits.shape == (2,)
    p = special.expit([0.5, 2.0])
    product = np.sqrt([np.prod(1 - p), np.prod(p)])
    for target in (0, 1):
        found = target_objective(logits, torch.tensor([target] * 2), "log_prob").exp()
        np.testing.assert_allclose(found, product[target] / product.sum(), rtol=1e-6)


def test_members_may_differ_in_kind_and_precision():
    low = network(1).bfloat16()
    outputs = {"logits": network(2)}
    members = [ng.preprocess(network(0)), low, lambda x: {name: member(x.float()) for name, member in outputs.items()}]
    found = ng.ensemble(members)
    expected = (members[0](images()) + low(images().bfloat16()).float() + outputs["logits"](images())) / 3
    torch.testing.assert_close(found(images()), expected)
    assert classify(found, images().double()).dtype == torch.float64
    assert [name for name, _ in found.named_children()] == ["member0", "member1"]


class Told(nn.Module):
    noise_conditional = True

    def forward(self, x, t):
        return x.flatten(1)[:, :3] * t[:, None]


def test_only_members_that_are_told_t_are_told_it():
    both, t = ng.ensemble([Told().eval(), network()]), torch.tensor([1, 2, 3, 4, 5])
    expected = (images().flatten(1)[:, :3] * t[:, None] + network()(images())) / 2
    torch.testing.assert_close(both(images(), t), expected)
    for around in (both, ng.preprocess(both), ng.augmented(both), ng.smoothed(both)):
        with pytest.raises(ValueError, match="told t guides at 'xt'"):
            ng.ClassifierGuidance(around, 0, 1.0, at="x0")


def first_gradient(classifier, at="xt", **options):
    guidance = ng.ClassifierGuidance(classifier, 1, 5.0, at=at)
    return next(ng.trajectory(denoiser, SCHEDULE, 2, guidance=guidance, shape=SHAPE, **options)).gradient


def test_an_ensemble_guides_along_its_log_probability():
    members = [network(0), network(1)]
    x = SampleNoise(0, range(2), SHAPE)(0).requires_grad_()
    mean = sum(member(x).log_softmax(1) for member in members) / 2
    (expected,) = torch.autograd.grad(mean.log_softmax(1)[:, 1].sum(), x)
    torch.testing.assert_close(first_gradient(ng.ensemble(members)), expected)
    # Each member gets a copy of its own, whatever the others do to theirs.
    in_place = ng.ensemble([lambda x: members[0](x.mul_(1.0)), nn.Sequential(nn.ReLU(True), members[1]).eval()])
    assert first_gradient(in_place).isfinite().all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ng.ensemble([]), ValueError, "no classifiers"),
        (lambda: ng.ensemble([network(), "resnet"]), TypeError, "Member 1 of the ensemble, a str"),
        (lambda: ng.ensemble([network(), network(0, 1)])(images()), ValueError, "members .* have 3, 2 classes"),
        (lambda: ng.ensemble([lambda x: x, network()])(images()), ValueError, r"\(5, 3, 8, 8\) cannot be averaged"),
        (lambda: ng.ensemble([nn.Linear(2, 2).eval()])(images()), ValueError, "cannot take images .*ng.preprocess"),
    ],
)
def test_what_cannot_be_is_named(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value) and str(caught.value).count("The classifier cannot") <= 1
