"""The gradient of guidance against finite differences, its objectives against numbers, and its guards."""

import math

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

import nonrobust_guidance as ng
from nonrobust_guidance.guidance.method import StepContext
from nonrobust_guidance.guidance.objectives import OBJECTIVES, target_objective
from nonrobust_guidance.sampling.denoiser import predict


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    ).double().eval()  # fmt: skip


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(54, 3)).double()
    return network.eval()


SCHEDULE = ng.Schedule.linear(10, 0.05, 0.3)
MIDDLE = list(SCHEDULE.transitions())[4]


def gradient_of(guidance, unet, x):
    def network(x_t, transition):
        return predict(unet, SCHEDULE, x_t, transition)

    return guidance.evaluate(network, x, StepContext(MIDDLE))[:2]


@pytest.mark.parametrize("objective", ["log_prob", "logit"])
@pytest.mark.parametrize("at", ["xt", "x0"])
def test_gradient_matches_central_differences(unet, classifier, at, objective):
    guidance = ng.ClassifierGuidance(classifier, 2, 1.0, at=at, objective=objective)
    a, b = math.sqrt(MIDDLE.alpha_bar), math.sqrt(1 - MIDDLE.alpha_bar)

    class Objective(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            seen = ((x - b * unet(x, MIDDLE.t).sample) / a).clamp(-1, 1) if at == "x0" else x
            logits = classifier(seen)
            return logits[:, 2] - (logits.logsumexp(1) if objective == "log_prob" else 0.0)

        @staticmethod
        def backward(ctx, grad):
            return grad.reshape(-1, 1, 1, 1) * gradient_of(guidance, unet, ctx.saved_tensors[0])[1]

    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    clamped = gradient_of(guidance, unet, x)[0].x0_hat.abs() == 1.0
    assert 0.1 < clamped.double().mean() < 0.9  # the clamp is in play
    assert torch.autograd.gradcheck(Objective.apply, (x.requires_grad_(),), eps=1e-6, atol=1e-7, rtol=1e-5)


def test_detached_gradient_is_that_of_x0_hat_times_root_alpha_bar(unet, classifier):
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    prediction, found = gradient_of(ng.ClassifierGuidance(classifier, 1, 1.0, at="x0_detached"), unet, x)
    h = 1e-6
    for pixel in (0, 20, 63):
        step = torch.zeros(64, dtype=torch.float64)
        step[pixel] = h
        up, down = (
            classifier(prediction.x0_hat + sign * step.reshape(1, 1, 8, 8)).log_softmax(1)[:, 1] for sign in (1, -1)
        )
        expected = math.sqrt(MIDDLE.alpha_bar) * (up - down) / (2 * h)
        torch.testing.assert_close(found.flatten(1)[:, pixel], expected.detach(), atol=1e-9, rtol=1e-5)


def test_the_network_runs_once_and_its_weights_get_no_gradient(unet, classifier):
    calls, x = [], torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    handle = unet.register_forward_hook(lambda *_: calls.append(1))
    unet.requires_grad_(True)
    for at in ("xt", "x0", "x0_detached"):
        calls.clear()
        prediction, gradient = gradient_of(ng.ClassifierGuidance(classifier, 0, 1.0, at=at), unet, x)
        assert len(calls) == 1
        assert not gradient.requires_grad and not any(tensor.requires_grad for tensor in prediction[:3])
    handle.remove()
    weights = [*unet.parameters(), *classifier.parameters()]
    assert all(weight.grad is None and weight.requires_grad for weight in weights)


def test_objectives_by_hand():
    logits, target = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]), torch.tensor([1, 0])
    assert target_objective(logits, target, "logit").tolist() == [2.0, 0.0]
    expected = [2 - math.log(math.e + math.e**2 + 1), -math.log(2 + math.e**3)]
    assert target_objective(logits, target, "log_prob").tolist() == pytest.approx(expected)
    for shape in ((2,), (2, 1)):
        binary = torch.tensor([0.5, 0.5]).reshape(shape)
        assert target_objective(binary, target, "logit").tolist() == [0.5, -0.5]
        expected = [-math.log(1 + math.exp(-0.5)), -math.log(1 + math.exp(0.5))]
        assert target_objective(binary, target, "log_prob").tolist() == pytest.approx(expected)


def margin(logits, target):
    """Logit of the target less the greatest of the others."""
    theirs = logits.scatter(1, target[:, None], float("-inf")).amax(1)
    return OBJECTIVES["logit"](logits, target) - theirs


def test_an_objective_of_ones_own_is_climbed(unet, classifier):
    logits, target = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.5, 3.0]]), torch.tensor([1, 0])
    assert target_objective(logits, target, margin).tolist() == [1.0, -3.0]
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    guidance = ng.ClassifierGuidance(classifier, 2, 1.0, at="xt", objective=margin)
    _, gradient = gradient_of(guidance, unet, x.detach())
    scores = classifier(x)
    (expected,) = torch.autograd.grad((scores[:, 2] - scores[:, :2].amax(1)).sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_an_objective_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"The objective returned \(\) for 2 samples; it must return \(2,\)"):
        target_objective(torch.zeros(2, 3), torch.tensor([0, 1]), lambda logits, target: logits.sum())


@pytest.mark.parametrize("shape", [(3,), (2, 1, 1), (3, 4), ()])
def test_logits_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="must return logits"):
        target_objective(torch.zeros(shape), torch.tensor([0, 1]), "logit")


@pytest.mark.parametrize(("logits", "target"), [(torch.zeros(2, 3), 3), (torch.zeros(2, 3), -1), (torch.zeros(2), 2)])
def test_targets_out_of_range_are_named(logits, target):
    with pytest.raises(ValueError, match=f"Target {target} is none of the classifier's"):
        target_objective(logits, torch.tensor([0, target]), "log_prob")


class ToldTheTime:
    noise_conditional = True

    def __call__(self, x, t):
        assert t.shape == (len(x),) and t.dtype == torch.int64
        return torch.stack([x.flatten(1).sum(1) * t, torch.zeros(len(x), dtype=x.dtype)], dim=1)


def test_a_noise_conditional_classifier_is_told_t(unet):
    _, gradient = gradient_of(ng.ClassifierGuidance(ToldTheTime(), 0, 1.0, at="xt", objective="logit"), unet,
                              torch.zeros(2, 1, 8, 8, dtype=torch.float64))  # fmt: skip
    assert torch.equal(gradient, torch.full_like(gradient, MIDDLE.t))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"at": "x1"}, ValueError, "at is 'x1'; choose one of 'xt', 'x0', 'x0_detached'"),
        ({"objective": "prob"}, ValueError, "objective is 'prob'"),
        ({"on_nonfinite": "ignore"}, ValueError, "on_nonfinite is 'ignore'"),
        ({"scale": math.nan}, ValueError, "scale is nan"),
        ({"interval": (0.8, 0.2)}, ValueError, "interval is"),
        ({"interval": (0.0, 400)}, ValueError, "interval is"),
        ({"target": 0.5}, TypeError, "target is 0.5"),
        ({"target": torch.tensor([0.5])}, TypeError, "LongTensor"),
        ({"target": torch.zeros(2, 2).long()}, TypeError, "LongTensor"),
        ({"classifier": "resnet"}, TypeError, "not callable"),
        ({"classifier": nn.Linear(1, 1)}, ValueError, "training mode"),
        ({"classifier": ToldTheTime()}, ValueError, "guides at 'xt', not at 'x0'"),
    ],
)
def test_guards(classifier, change, error, message):
    arguments = {"classifier": classifier, "target": 0, "scale": 1.0} | change
    with pytest.raises(error, match=message):
        ng.ClassifierGuidance(**arguments)
