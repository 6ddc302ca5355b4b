"""What holds for every training-free method: bits, passes, noise, the trust region, and the shares it reaches."""

import math

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

import nonrobust_guidance as ng
from nonrobust_guidance.guidance import METHODS
from nonrobust_guidance.sampling.noise import SampleNoise
from nonrobust_guidance.sampling.sample import sample_counted

SCHEDULE = ng.Schedule.linear(400, 1e-4, 0.05).respaced(5)
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1, 2])
# Of each the numbers that follow the target, and how often a step runs forward and back through the U-Net and forward
# through the classifier.
SETTINGS = {
    "classifier": ((30.0,), {}, 1, 1, 1),
    "dps": ((2.0,), {}, 1, 1, 1),
    "lgd": ((2.0,), {"num_draws": 2}, 1, 1, 2),
    "freedom": ((2.0,), {"recurrences": 2}, 2, 2, 2),
    "mpgd": ((20.0,), {}, 1, 0, 1),
    "dsg": ((0.3,), {}, 1, 1, 1),
    "ugd": ((2.0,), {"recurrences": 2, "ascents": 2}, 2, 2, 2 * (1 + 2)),
    # The first step of the ascent starts where the gradient through the network does, and costs nothing more.
    "tfg": ((2.0, 2.0, 0.5), {"recurrences": 2, "iterations": 3, "num_draws": 2}, 2, 2, 2 * 3 * 2),
    "tfg without rho": ((0.0, 2.0, 0.5), {"recurrences": 3}, 3, 0, 3),
}
SAMPLERS = [
    ng.DDPM(),
    ng.DDIM(0.0),
    ng.DDIM(1.0),
    ng.DPMSolver("dpmsolver++"),
    ng.DPMSolver("sde-dpmsolver++"),
]
all_methods = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Hardswish(), nn.Flatten(), nn.Linear(72, 4)).eval()


def guide(name, classifier, target, **fields):
    strengths, own, *_ = SETTINGS[name]
    return METHODS[name.split()[0]](classifier, target, *strengths, **own, **fields)


def test_every_method_is_here():
    assert {name.split()[0] for name in SETTINGS} == set(METHODS)
    assert all(getattr(ng, kind.__name__) is kind for kind in METHODS.values())


@all_methods
def test_bits_do_not_depend_on_batches_or_their_order(unet, classifier, name):
    def draw(first_index=0, **options):
        guidance = guide(name, classifier, TARGETS[first_index:], stabilizer=ng.EMA(0.5))
        options |= {"guidance": guidance, "first_index": first_index, "sampler": ng.DDIM(1.0)}
        return ng.sample(unet, SCHEDULE, len(TARGETS) - first_index, 3, **options)

    whole = draw()
    assert torch.equal(whole, draw(batch_size=3))
    assert torch.equal(whole[2:], draw(2, batch_size=4))
    order = [4, 0, 6, 2, 1, 5, 3]
    permuted = ng.sample(
        unet, SCHEDULE, len(TARGETS), guidance=guide(name, classifier, TARGETS[order], stabilizer=ng.EMA(0.5)),
        sampler=ng.DDIM(1.0), noise=SampleNoise(3, order, (3, 8, 8)),
    )  # fmt: skip
    assert torch.equal(whole[order], permuted)
    plain = ng.sample(unet, SCHEDULE, len(TARGETS), 3, sampler=ng.DDIM(1.0))
    assert float((whole - plain).abs().amax()) > 0.01


@all_methods
def test_passes_through_the_networks(unet, classifier, name):
    forward, backward, classified = SETTINGS[name][2:]
    passes = []
    handles = [
        unet.register_forward_hook(lambda *_: passes.append("forward")),
        classifier.register_forward_hook(lambda *_: passes.append("classified")),
        unet.conv_in.register_full_backward_hook(lambda *_: passes.append("backward")),
    ]
    ng.sample(unet, SCHEDULE, 2, guidance=guide(name, classifier, 1), sampler=ng.DDIM(1.0))
    for handle in handles:
        handle.remove()
    # The last step has no noise: DSG does not act in it.
    guided = len(SCHEDULE) - (name == "dsg")
    assert passes.count("forward") == guided * forward + len(SCHEDULE) - guided
    assert passes.count("backward") == guided * backward
    assert passes.count("classified") == guided * classified
    assert all(weight.grad is None for weight in [*unet.parameters(), *classifier.parameters()])


@pytest.mark.parametrize(
    ("name", "each", "between"),
    [
        ("dps", [], 0),
        ("lgd", [("smooth", 1, 1), ("smooth", 1, 2)], 0),
        ("freedom", [("step", 2), ("renoise", 1)], 1),
        ("mpgd", [], 0),
        ("dsg", [], 0),
        ("ugd", [("step", 2), ("renoise", 1)], 1),
        ("tfg", [("step", 2), ("renoise", 1), *(("smooth", r, m) for r in (1, 2) for m in (1, 2))], 1),
        (
            "tfg without rho",
            [("step", 2), ("step", 3), ("renoise", 1), ("renoise", 2), *(("smooth", r, 1) for r in (1, 2, 3))],
            2,
        ),
    ],
)
def test_what_noise_is_asked_for(unet, classifier, name, each, between):
    asked = []

    def spy(k, *use):
        asked.append((k, *use))
        return SampleNoise(0, range(2), (3, 8, 8))(k, *use)

    guidance = guide(name, classifier, 1)
    first = next(ng.trajectory(unet, SCHEDULE, 2, guidance=guidance, sampler=ng.DDIM(1.0), noise=spy))
    assert sorted(asked, key=repr) == sorted([(0,), (1,), *((1, *use) for use in each)], key=repr)
    assert first.k == 1 and sum("renoise" in use for use in asked) == between


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@all_methods
def test_no_step_leaves_its_trust_region(unet, classifier, name, sampler):
    bounds, shifts, radius = [], [], 0.05
    guidance = guide(name, classifier, TARGETS, trust_radius=radius)
    steps = ng.trajectory(unet, SCHEDULE, len(TARGETS), guidance=guidance, sampler=sampler)
    for step, transition in zip(steps, SCHEDULE.transitions(), strict=True):
        if step.shift is not None:
            shifts.append(step.shift.double().square().mean((1, 2, 3)).sqrt())
            bounds.append(sampler.reference_std(transition) * radius / math.sqrt(len(SCHEDULE)))
    if name == "dsg" and sampler.noise_std(next(SCHEDULE.transitions())) == 0.0:
        assert not shifts  # no noise to turn
        return
    shifts, bounds = torch.stack(shifts), torch.tensor(bounds, dtype=torch.float64)[:, None]
    assert bool((shifts <= bounds * (1 + 1e-4) + 1e-6).all())
    assert bool((shifts > 0.9 * bounds).any())  # and some are on its border


@pytest.mark.parametrize("sampler", SAMPLERS[::2], ids=str)
@all_methods
def test_an_infinite_trust_region_changes_no_bit(unet, classifier, name, sampler):
    bounded, free = (
        ng.sample(unet, SCHEDULE, 3, guidance=guide(name, classifier, 2, trust_radius=radius), sampler=sampler)
        for radius in (math.inf, None)
    )
    assert torch.equal(bounded, free)


@all_methods
def test_outside_its_interval_a_method_only_chooses_what_the_steps_go_along(unet, classifier, name):
    guidance = guide(name, classifier, 2, interval=(0.0, 0.0))
    steps = list(ng.trajectory(unet, SCHEDULE, 3, guidance=guidance, sampler="ddim"))
    assert all(step.gradient is None and step.shift is None and step.strength == 0.0 for step in steps)
    clamped = name.split()[0] in ("classifier", "mpgd", "dsg", "tfg")
    sampler = ng.DDIM(use_clipped_model_output=name.startswith("tfg"))
    plain = list(ng.trajectory(unet, SCHEDULE, 3, sampler=sampler, clip=clamped))
    expected = plain[-1].x if clamped else plain[-1].x.clamp(-1.0, 1.0)
    torch.testing.assert_close(steps[-1].x, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("certain", "expected"), [(True, 0.0), (False, -math.log(4))])
@all_methods
def test_no_gradient_moves_nothing(unet, name, certain, expected):
    def indifferent(x):
        logits = 0.0 * x.flatten(1)[:, :4]
        return logits + torch.tensor([200.0, 0.0, 0.0, 0.0]) if certain else logits

    assert indifferent(torch.zeros(1, 3, 8, 8)).log_softmax(1)[0, 0] == pytest.approx(expected)
    for step in ng.trajectory(unet, SCHEDULE, 2, guidance=guide(name, indifferent, 0), sampler=ng.DDIM(1.0)):
        assert step.shift is None or torch.equal(step.shift, torch.zeros_like(step.shift))
        assert bool(step.x.isfinite().all())


class NaNAfterAscent:
    """A classifier of which the logits of bright images are NaN: no clamped image is so bright, but an ascent is."""

    def __call__(self, x):
        mean = x.flatten(1).mean(1)
        mean = torch.where(mean > 1.5, mean * math.nan, mean)
        return torch.stack([mean, -mean], dim=1)


@pytest.mark.parametrize("kind", ["ugd", "tfg"])
def test_a_sample_whose_ascent_is_not_finite_goes_unguided(kind):
    schedule = ng.Schedule.linear(10, 0.05, 0.3)
    denoiser = ng.GaussianMixture([[0.0, 0.0]], 0.2).denoiser(schedule)
    arguments = {"ugd": (1e3, 1, 2), "tfg": (0.0, 1e3, 0.0, 1, 2)}[kind]
    options = {"shape": (2, 1, 1), "sampler": "ddim"}
    guidance = METHODS[kind](NaNAfterAscent(), 0, *arguments, on_nonfinite="skip")
    images, skipped = sample_counted(denoiser, schedule, 4, guidance=guidance, **options)
    assert skipped.tolist() == [len(schedule)] * 4
    torch.testing.assert_close(images, ng.sample(denoiser, schedule, 4, **options), atol=1e-5, rtol=0)
    with pytest.raises(ng.NonFiniteGradientError, match=f"with {kind.upper()}"):
        ng.sample(denoiser, schedule, 4, guidance=METHODS[kind](NaNAfterAscent(), 0, *arguments), **options)


STRENGTHS = {
    "classifier": (2.0,), "dps": (0.1,), "lgd": (0.2,), "freedom": (0.2,), "mpgd": (0.2,), "dsg": (0.3,), "ugd": (2.0,),
    "tfg": (0.1, 0.1, 0.1),
}  # fmt: skip


@pytest.mark.parametrize("sampler", [ng.DDIM(1.0), ng.DPMSolver("sde-dpmsolver++")], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_the_share_of_the_target_rises_on_a_mixture(name, sampler):
    mixture = ng.GaussianMixture([[-1.0, 0.0], [1.0, 0.0]], 0.1, weights=[0.7, 0.3])
    schedule = ng.Schedule.linear(100, 1e-4, 0.1).respaced(25)
    guidance = METHODS[name](mixture.classifier, 1, *STRENGTHS[name])
    x = ng.sample(
        mixture.denoiser(schedule), schedule, 400, guidance=guidance, shape=mixture.shape, clip=False, sampler=sampler
    )
    # Unguided 0.3: 0.6 is 13 standard deviations of 400 draws away.
    assert mixture.classifier(x).argmax(1).double().mean() > 0.6
    assert float(mixture.log_prob(x).median()) > -3.0  # and the points are where the data are


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: ng.DPS(c, 0, math.inf), "scale is inf"),
        (lambda c: ng.DSG(c, 0, math.nan), "rate is nan"),
        (lambda c: ng.LGD(c, 0, 1.0, 0), "num_draws is 0; give a whole number, at least 1"),
        (lambda c: ng.FreeDoM(c, 0, 1.0, 0), "recurrences is 0"),
        (lambda c: ng.FreeDoM(c, 0, 1.0, weight="flat"), "weight is 'flat'; choose one of 'increase', 'decrease'"),
        (lambda c: ng.UGD(c, 0, 1.0, 1.5), "recurrences is 1.5"),
        (lambda c: ng.UGD(c, 0, 1.0, ascents=-1), "ascents is -1; give a whole number, at least 0"),
        (lambda c: ng.TFG(c, 0, math.nan, 1.0, 0.1), "rho is nan"),
        (lambda c: ng.TFG(c, 0, 1.0, math.nan, 0.1), "mu is nan"),
        (lambda c: ng.TFG(c, 0, 1.0, 1.0, -0.1), "sigma is -0.1; it must be at least 0"),
        (lambda c: ng.TFG(c, 0, 1.0, 1.0, 0.1, iterations=-1), "iterations is -1"),
        (lambda c: ng.TFG(c, 0, 1.0, 1.0, 0.1, num_draws=True), "num_draws is True"),
        (lambda c: ng.TFG(c, 0, 1.0, 1.0, 0.1, rho_weight="up"), "rho_weight is 'up'"),
        (lambda c: ng.TFG(c, 0, 1.0, 1.0, 0.1, mu_weight="up"), "mu_weight is 'up'"),
        (lambda c: ng.TFG(c, 0, 1.0, 1.0, 0.1, sigma_weight="increase"), "choose one of 'decrease', 'constant'"),
        (lambda c: ng.MPGD(c, 0, 1.0, objective="prob"), "objective is 'prob'"),
    ],
)
def test_guards(classifier, make, message):
    with pytest.raises(ValueError, match=message):
        make(classifier)
