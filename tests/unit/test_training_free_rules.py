"""Every training-free method against its rule, written here in plain torch, and against numbers worked by hand.

The rules are those of the papers' algorithms for DDIM, level by level; nothing of them is taken from the library.
"""

import hashlib
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import nonrobust_guidance as ng
from nonrobust_guidance.guidance.level_weights import level_weight
from nonrobust_guidance.guidance.method import StepContext

TARGETS = torch.tensor([2, 0, 1, 2, 2])
SHAPE = (2, 5, 5)
SCHEDULE = ng.Schedule.linear(40, 0.01, 0.2).respaced(5)


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 2, 3, padding=1)
        self.time = nn.Embedding(40, 6)

    def forward(self, x, t):
        return x + self.after(torch.tanh(self.before(x) + self.time(t)[:, :, None, None]))


torch.manual_seed(0)
DENOISER = Denoiser().double().eval()
CLASSIFIER = nn.Sequential(nn.Conv2d(2, 6, 3, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(24, 3)).double().eval()


def noise(*use):
    """Standard normal noise that is another for every use."""
    seed = int.from_bytes(hashlib.sha256(repr(use).encode()).digest()[:4], "big")
    return torch.randn(len(TARGETS), *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_p(v):
    return CLASSIFIER(v).log_softmax(1)[torch.arange(len(v)), TARGETS]


def gradient(function, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x).sum(), x)[0]


def norm(v):
    return v.square().sum((1, 2, 3), keepdim=True).sqrt()


def run(rule, eta, clip, recurrences=1):
    """Return the end of the chain in which ``rule`` makes each step from what belongs to it."""
    with torch.no_grad():
        alpha_bars = torch.cumprod(1 - torch.linspace(0.01, 0.2, 40, dtype=torch.float64), 0)
        kept = [39, 31, 23, 15, 7]
        a_of = [float(alpha_bars[t]) for t in kept]
        ratios = [a / end for a, end in zip(a_of, [*a_of[1:], 1.0], strict=True)]
        x = noise(0)
        for k, (t, a, ratio) in enumerate(zip(kept, a_of, ratios, strict=True), start=1):
            end = a / ratio
            sigma = eta * math.sqrt(max((1 - end) / (1 - a) * (1 - ratio), 0.0))
            for r in range(1, recurrences + 1):
                if r > 1:
                    x = math.sqrt(ratio) * x + math.sqrt(1 - ratio) * noise(k, "renoise", r - 1)
                z = noise(k) if r == 1 else noise(k, "step", r)
                x = rule(step_of(x, k, r, t, a, end, sigma, z, clip, ratios))
    return x.clamp(-1, 1) if clip else x


def step_of(x, k, r, t, a, end, sigma, z, clip, ratios):
    def eps(x):
        return DENOISER(x, torch.full((len(x),), t))

    def xh(x):
        return (x - math.sqrt(1 - a) * eps(x)) / math.sqrt(a)

    def with_image(v, e):
        return math.sqrt(end) * v + math.sqrt(max(1 - end - sigma**2, 0.0)) * e + sigma * z

    def ddim(e):
        return with_image((x - math.sqrt(1 - a) * e) / math.sqrt(a), e)

    def spread(strength, weight):
        w = {"increase": ratios, "decrease": [1 - ratio for ratio in ratios], "constant": [1.0] * len(ratios)}[weight]
        return strength * w[k - 1] * len(w) / sum(w)

    return SimpleNamespace(
        x=x, e=eps(x), xh=xh, C=(lambda v: v.clamp(-1, 1)) if clip else (lambda v: v), a=a, end=end, sigma=sigma, z=z,
        with_image=with_image, ddim=ddim, spread=spread, smooth=lambda m: noise(k, "smooth", r, m),
    )  # fmt: skip


def dps(scale):
    def rule(s):
        size = log_p(s.xh(s.x)).abs()[:, None, None, None]
        return s.ddim(s.e) + scale * gradient(lambda x: log_p(s.xh(x)), s.x) / size

    return rule


def lgd(scale, n):
    def rule(s):
        def smooth_log_p(x):
            return sum(log_p(s.xh(x) + math.sqrt(1 - s.a) * s.smooth(i)).exp() for i in range(1, n + 1)).log()

        return s.ddim(s.e) + scale / n * gradient(smooth_log_p, s.x)

    return rule


def freedom(scale, weight):
    return lambda s: s.ddim(s.e) + s.spread(scale, weight) * gradient(lambda x: log_p(s.xh(x)), s.x)


def mpgd(scale):
    def rule(s):
        v = s.C(s.xh(s.x))
        return s.with_image(v + scale * gradient(log_p, v), s.e)

    return rule


def ugd(scale, ascents):
    def rule(s):
        v = start = s.C(s.xh(s.x))
        for _ in range(ascents):
            v = v + scale * gradient(log_p, v)
        e = s.e - scale * math.sqrt(1 - s.a) * gradient(lambda x: log_p(s.xh(x)), s.x)
        return s.ddim(e - math.sqrt(s.a / (1 - s.a)) * (v - start))

    return rule


def tfg(rho, mu, sigma, n, iterations, weights):
    def rule(s):
        d = sigma * (math.sqrt(1 - s.a) if weights[2] == "decrease" else 1.0)

        def smooth_log_p(v):
            return torch.stack([log_p(v + d * s.smooth(i)).exp() for i in range(1, n + 1)]).mean(0).log()

        v = start = s.C(s.xh(s.x))
        D = s.spread(rho, weights[0]) * gradient(lambda x: smooth_log_p(s.C(s.xh(x))), s.x)
        for _ in range(iterations):
            v = v + s.spread(mu, weights[1]) * gradient(smooth_log_p, v)
        after = s.ddim((s.x - math.sqrt(s.a) * start) / math.sqrt(1 - s.a))
        return after + D / math.sqrt(s.a / s.end) + math.sqrt(s.end) * (v - start)

    return rule


def dsg(rate):
    def rule(s):
        G, R = gradient(lambda x: log_p(s.xh(x)), s.x), math.sqrt(math.prod(SHAPE)) * s.sigma
        if R == 0.0:
            return s.with_image(s.C(s.xh(s.x)), s.e)
        v = s.sigma * s.z + rate * (R * G / norm(G) - s.sigma * s.z)
        return s.with_image(s.C(s.xh(s.x)), s.e) - s.sigma * s.z + R * v / norm(v)

    return rule


GUIDE = (CLASSIFIER, TARGETS)
EVEN = ("increase", "increase", "decrease")
CASES = {
    "dps": (ng.DPS(*GUIDE, 0.8), dps(0.8)),
    "lgd": (ng.LGD(*GUIDE, 0.8), lgd(0.8, 1)),
    "lgd of 3 draws": (ng.LGD(*GUIDE, 2.0, 3), lgd(2.0, 3)),
    "freedom": (ng.FreeDoM(*GUIDE, 0.8), freedom(0.8, "increase")),
    "freedom, 3 times": (ng.FreeDoM(*GUIDE, 0.8, recurrences=3, weight="decrease"), freedom(0.8, "decrease")),
    "freedom, constant": (ng.FreeDoM(*GUIDE, 0.8, weight="constant"), freedom(0.8, "constant")),
    "mpgd": (ng.MPGD(*GUIDE, 2.0), mpgd(2.0)),
    "dsg": (ng.DSG(*GUIDE, 0.3), dsg(0.3)),
    "ugd": (ng.UGD(*GUIDE, 0.8), ugd(0.8, 0)),
    "ugd, twice with 3 ascents": (ng.UGD(*GUIDE, 0.8, recurrences=2, ascents=3), ugd(0.8, 3)),
    "tfg": (ng.TFG(*GUIDE, 0.8, 0.5, 0.3), tfg(0.8, 0.5, 0.3, 1, 1, EVEN)),
    "tfg, twice with 3 draws": (
        ng.TFG(*GUIDE, 0.8, 0.5, 0.3, 2, 4, 3, "decrease", "constant", "constant"),
        tfg(0.8, 0.5, 0.3, 3, 4, ("decrease", "constant", "constant")),
    ),
    "tfg, rho alone": (ng.TFG(*GUIDE, 0.8, 0.0, 0.3, num_draws=2), tfg(0.8, 0.0, 0.3, 2, 1, EVEN)),
    "tfg, mu alone": (ng.TFG(*GUIDE, 0.0, 0.5, 0.3, iterations=2), tfg(0.0, 0.5, 0.3, 1, 2, EVEN)),
    "tfg, no noise": (ng.TFG(*GUIDE, 0.8, 0.5, 0.0, num_draws=2), tfg(0.8, 0.5, 0.0, 1, 1, EVEN)),
    # At strength 0 three different chains are left.
    "dps of 0": (ng.DPS(*GUIDE, 0.0), lambda s: s.ddim(s.e)),
    "mpgd of 0": (ng.MPGD(*GUIDE, 0.0), lambda s: s.with_image(s.C(s.xh(s.x)), s.e)),
    "tfg of 0": (
        ng.TFG(*GUIDE, 0.0, 0.0, 0.0),
        lambda s: s.ddim((s.x - math.sqrt(s.a) * s.C(s.xh(s.x))) / math.sqrt(1 - s.a)),
    ),
}


@pytest.mark.parametrize("clip", [True, False], ids=["clip", "free"])
@pytest.mark.parametrize(("eta", "microbatch"), [(0.0, "auto"), (1.0, 2), (1.0, 3)])
@pytest.mark.parametrize("name", CASES)
def test_a_method_follows_its_rule(name, eta, microbatch, clip):
    guidance, rule = CASES[name]
    options = {"shape": SHAPE, "sampler": ng.DDIM(eta), "clip": clip, "noise": noise, "dtype": torch.float64}
    found = ng.sample(DENOISER, SCHEDULE, 5, guidance=guidance, microbatch=microbatch, **options)
    expected = run(rule, eta, clip, guidance.recurrences)
    torch.testing.assert_close(found, expected, atol=1e-10 * float(expected.abs().max()), rtol=0)


def test_the_rules_differ_at_strength_0():
    dps, mpgd, tfg = (run(CASES[f"{name} of 0"][1], 1.0, True) for name in ("dps", "mpgd", "tfg"))
    assert min(float((a - b).abs().max()) for a, b in ((dps, mpgd), (dps, tfg), (mpgd, tfg))) > 0.01


def toward_two(x):
    """Return logits (B, 2) of which the first is -1/2 (x - 2)^2."""
    value = -0.5 * (x.flatten(1)[:, 0] - 2.0).square()
    return torch.stack([value, torch.zeros_like(value)], dim=1)


def first_step(guidance, alpha_bars, z=0.0, sampler="ddim"):
    """Return the first step of a chain of numbers that starts at 1.5, of data that are standard normal."""
    schedule = ng.Schedule(torch.tensor(alpha_bars), torch.arange(len(alpha_bars)))
    start, later = torch.full((1, 1, 1, 1), 1.5), torch.full((1, 1, 1, 1), z)
    denoiser = ng.GaussianMixture([[0.0]], 1.0).denoiser(schedule)
    return next(ng.trajectory(
        denoiser, schedule, 1, guidance=guidance, shape=(1, 1, 1), clip=False, dtype=torch.float64, sampler=sampler,
        noise=lambda k, *use: later if k else start,
    ))  # fmt: skip


# With alpha_bar 0.64: eps = 0.6 x = 0.9, x0_hat = 0.8 x = 1.2, L = -0.32, dL/dx0 = 0.8, dL/dx = 0.64; x' = x0_hat.
@pytest.mark.parametrize(
    ("kind", "arguments", "z", "expected"),
    [
        (ng.DPS, (0.1,), 0.0, 1.2 + 0.1 * 0.64 / 0.32),
        (ng.LGD, (0.1,), 0.5, 1.2 + 0.1 * 0.8 * 0.5),  # seen at 1.2 + 0.6 * 0.5
        (ng.FreeDoM, (0.1,), 0.0, 1.2 + 0.1 * 0.64),
        (ng.MPGD, (0.1,), 0.0, 1.2 + 0.1 * 0.8),
        (ng.UGD, (0.1,), 0.0, (1.5 - 0.6 * (0.9 - 0.1 * 0.6 * 0.64)) / 0.8),
        (ng.UGD, (0.1, 1, 2), 0.0, (1.5 - 0.6 * (0.9 - 0.0384 - 0.8 / 0.6 * (0.08 + 0.072))) / 0.8),
        (ng.TFG, (0.1, 0.2, 0.0), 0.0, 1.2 + 0.1 * 0.64 / 0.8 + 0.2 * 0.8),
        (ng.TFG, (0.0, 0.2, 0.5), 0.5, 1.2 + 0.2 * (0.8 - 0.5 * 0.6 * 0.5)),
        (ng.TFG, (0.0, 0.2, 0.5, 1, 2), 0.0, 1.2 + 0.2 * 0.8 + 0.2 * 0.64),
        (ng.DSG, (0.5,), 0.0, 1.2),
    ],
)
def test_a_last_step_by_hand(kind, arguments, z, expected):
    step = first_step(kind(toward_two, 0, *arguments, objective="logit"), [0.64], z)
    assert step.x.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("rate", "sign"), [(0.0, -1), (0.2, -1), (0.5, 1), (1.0, 1)])
def test_dsg_by_hand(rate, sign):
    # One number: the sphere is m - sigma and m + sigma. sigma = 1/3, and v = -1/6 + rate / 2 changes its sign at 1/3.
    step = first_step(ng.DSG(toward_two, 0, rate, objective="logit"), [0.8, 0.64], -0.5, "ddpm")
    mean = math.sqrt(0.8) * 0.2 / 0.36 * 1.2 + math.sqrt(0.8) * 0.2 / 0.36 * 1.5
    assert step.x.item() == pytest.approx(mean + sign / 3, rel=1e-6)
    assert math.isnan(step.strength)


def test_moves_with_the_ancestral_step_by_hand():
    # As its docstring says of each: x, the score by Sigma_t = 1/9, and x0_hat by sqrt(0.8) 0.2 / 0.36.
    plain = first_step(None, [0.8, 0.64], sampler="ddpm").x.item()
    weight = math.sqrt(0.8) * 0.2 / 0.36
    increase, rho = 0.8 * 2 / (0.8 + 0.8), 0.1 * 0.64 / math.sqrt(0.8)  # both levels keep 0.8
    for guidance, shift in (
        (ng.DPS(toward_two, 0, 0.1, objective="logit"), 0.1 * 0.64 / 0.32),
        (ng.FreeDoM(toward_two, 0, 0.1, objective="logit"), increase * 0.1 * 0.64),
        (ng.MPGD(toward_two, 0, 0.1, objective="logit"), weight * 0.1 * 0.8),
        (ng.UGD(toward_two, 0, 0.1, 1, 1, objective="logit"), (0.1 * 0.64 + 0.8 / 0.36 * 0.08) / 9),
        (ng.TFG(toward_two, 0, 0.1, 0.2, 0.0, objective="logit"), rho + weight * 0.2 * 0.8),
    ):
        step = first_step(guidance, [0.8, 0.64], sampler="ddpm")
        assert step.x.item() - plain == pytest.approx(shift, rel=1e-5)
        assert step.shift.item() == pytest.approx(shift, rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "raw"), [("increase", [0.5, 0.8, 0.9]), ("decrease", [0.5, 0.2, 0.1]), ("constant", [1.0, 1.0, 1.0])]
)
def test_level_weights_by_hand(weight, raw):
    schedule = ng.Schedule(torch.tensor([0.9, 0.72, 0.36], dtype=torch.float64), torch.arange(3))
    found = [level_weight(weight, StepContext(transition, schedule)) for transition in schedule.transitions()]
    assert found == pytest.approx([3 * w / sum(raw) for w in raw])


def test_a_level_alone_has_no_weight():
    with pytest.raises(ValueError, match="give the step its schedule"):
        level_weight("increase", StepContext(next(SCHEDULE.transitions())))
