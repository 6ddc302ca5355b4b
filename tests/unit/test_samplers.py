"""Samplers on data whose diffusion is known, and what guidance may add to their steps."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nonrobust_guidance as ng
from nonrobust_guidance.guidance.stabilizers import StabilizerStep
from nonrobust_guidance.guidance.trust import within_trust_region

MIXTURE = ng.GaussianMixture([(-0.5, 0.2), (0.6, -0.1), (0.1, 0.7)], [0.08, 0.05, 0.1])
SCHEDULE = ng.Schedule.linear(400, 1e-4, 0.05)
SAMPLERS = [
    ng.DDPM(),
    ng.DDIM(),
    ng.DDIM(eta=0.4),
    ng.DDIM(eta=1.0, use_clipped_model_output=True),
    ng.DPMSolver(),
    ng.DPMSolver("sde-dpmsolver++", order=1),
    ng.DPMSolver("dpmsolver++"),
]


def chain_of(sampler, schedule, num_samples=8, guidance=None, **options):
    options = {"shape": MIXTURE.shape, "clip": False, "dtype": torch.float64} | options
    return list(
        ng.trajectory(MIXTURE.denoiser(schedule), schedule, num_samples, sampler=sampler, guidance=guidance, **options)
    )


@pytest.mark.parametrize(("order", "ratio"), [(1, 2.0), (2, 4.0)])
def test_halving_the_step_divides_the_error_of_the_ode_solver(order, ratio):
    schedule = ng.Schedule.linear(2048, 1e-4, 0.012)
    sampler = ng.DPMSolver("dpmsolver++", order)

    def half_way(num_steps):
        # Every chain has a level there; the last step, to the clean image, is of the first order in all of them.
        return chain_of(sampler, schedule.respaced(num_steps))[num_steps // 2 - 1].x

    exact = half_way(2048)
    errors = [float((half_way(num_steps) - exact).abs().mean()) for num_steps in (32, 64, 128)]
    assert [errors[0] / errors[1], errors[1] / errors[2]] == pytest.approx([ratio, ratio], rel=0.2)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_the_unguided_chain_draws_the_mixture(sampler):
    x = chain_of(sampler, SCHEDULE.respaced(200), 1000)[-1].x.flatten(1)
    exact = MIXTURE.sample(20_000, seed=1).flatten(1)
    assert (x.mean(0) - exact.mean(0)).abs().max() < 0.05
    assert (x.T.cov() - exact.T.cov()).abs().max() < 0.04


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_move_of_the_score_has_the_weight_that_the_sampler_says(sampler):
    guidance = ng.ClassifierGuidance(MIXTURE.classifier, 1, 3.0, at="x0")
    for step, transition in zip(
        chain_of(sampler, SCHEDULE.respaced(12), guidance=guidance), SCHEDULE.respaced(12).transitions(), strict=True
    ):
        assert step.strength == 3.0 * sampler.score_weight(transition)
        assert step.noise_std == sampler.noise_std(transition)
        if step.shift is not None:
            torch.testing.assert_close(step.shift, step.strength * step.stabilized, atol=1e-9, rtol=1e-9)


def test_the_stochastic_solver_moves_by_its_formula():
    transition = list(SCHEDULE.respaced(16).transitions())[5]
    a, a_next = transition.alpha_bar, transition.alpha_bar_prev
    squared = (1 - a_next) / a_next * a / (1 - a)  # e^-2h, by the signal-to-noise ratios of both levels
    expected = math.sqrt(a_next) * (1 - squared) * (1 - a) / math.sqrt(a)
    assert ng.DPMSolver().score_weight(transition) == pytest.approx(expected, rel=1e-12)
    assert ng.DPMSolver().noise_std(transition) == pytest.approx(math.sqrt((1 - a_next) * (1 - squared)), rel=1e-12)
    # Near the end of a fine chain both stochastic samplers move x by about the variance of their noise.
    fine = list(SCHEDULE.transitions())[200]
    for sampler in (ng.DDPM(), ng.DPMSolver(), ng.DDIM(eta=1.0)):
        assert sampler.score_weight(fine) == pytest.approx(sampler.noise_std(fine) ** 2, rel=0.1)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@settings(max_examples=5, deadline=None)
@given(
    radius=st.floats(0.05, 5.0),
    scale=st.floats(0.1, 300.0),
    at=st.sampled_from(["xt", "x0", "x0_detached"]),
    seed=st.integers(0, 2**32),
)
def test_no_step_leaves_its_trust_region(sampler, clip, radius, scale, at, seed):
    schedule = SCHEDULE.respaced(9)
    guidance = ng.ClassifierGuidance(MIXTURE.classifier, 2, scale, at=at, trust_radius=radius)
    steps = chain_of(sampler, schedule, guidance=guidance, seed=seed, clip=clip)
    for step, transition in zip(steps, schedule.transitions(), strict=True):
        if step.shift is not None:
            size = step.shift.square().flatten(1).mean(1).sqrt()
            assert bool((size <= sampler.reference_std(transition) * radius / 3.0 * (1 + 1e-9) + 1e-15).all())


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_an_infinite_trust_region_changes_no_bit(sampler):
    free, bounded = (
        chain_of(
            sampler,
            SCHEDULE.respaced(9),
            dtype=torch.float32,
            guidance=ng.ClassifierGuidance(MIXTURE.classifier, 2, 5.0, at="x0", trust_radius=radius),
        )
        for radius in (None, math.inf)
    )
    assert all(torch.equal(a.x, b.x) for a, b in zip(free, bounded, strict=True))


def test_a_step_within_its_trust_region_is_left_as_it_is():
    generator = torch.Generator().manual_seed(0)
    guided, unguided = torch.randn(2, 3, 2, 4, 4, generator=generator)
    sizes = (guided - unguided).square().flatten(1).mean(1).sqrt()
    bound = float(sizes.median())
    found = within_trust_region(guided, unguided, bound)
    for i, size in enumerate(sizes.tolist()):
        if size <= bound:
            assert torch.equal(found[i], guided[i])
        else:
            shift = found[i] - unguided[i]
            assert float(shift.square().mean().sqrt()) == pytest.approx(bound, rel=1e-5)
            torch.testing.assert_close(shift / bound, (guided[i] - unguided[i]) / size, atol=1e-5, rtol=1e-5)
    assert torch.equal(within_trust_region(unguided, unguided, 0.0), unguided)


@pytest.mark.parametrize("sampler", [ng.DDPM(), ng.DDIM(eta=1.0), ng.DPMSolver()], ids=str)
def test_the_path_diverges_from_the_unguided_one_by_no_more_than_the_radius_says(sampler):
    # The divergence of two Gaussians with one covariance sigma^2 I is |difference of means|^2 / (2 sigma^2).
    for radius in (0.3, 1.0):
        guidance = ng.ClassifierGuidance(MIXTURE.classifier, 0, 1e4, at="x0", trust_radius=radius)
        divergence = torch.zeros(8, dtype=torch.float64)
        for step in chain_of(sampler, SCHEDULE.respaced(20), guidance=guidance):
            if step.noise_std > 0.0:
                divergence += step.shift.square().flatten(1).sum(1) / (2 * step.noise_std**2)
        assert float(divergence.max()) <= 2 * radius**2 / 2 * (1 + 1e-9)
        assert float(divergence.max()) >= 0.5 * 2 * radius**2 / 2  # so strong a guidance meets the bound in most steps


def test_the_divergence_of_a_constant_gradient_is_its_closed_form():
    class Linear:
        """Logits whose log-odds are linear in the image, so that "logit" has the gradient c everywhere."""

        def __call__(self, x):
            return torch.stack([0.0 * x.flatten(1).sum(1), 0.7 * x[:, 0, 0, 0] - 0.4 * x[:, 1, 0, 0]], dim=1)

    schedule, scale = SCHEDULE.respaced(10), 2.0
    guidance = ng.ClassifierGuidance(Linear(), 1, scale, at="xt", objective="logit")
    divergence = sum(
        step.shift.square().flatten(1).sum(1) / (2 * step.noise_std**2)
        for step in chain_of(ng.DDPM(), schedule, guidance=guidance)
        if step.noise_std > 0.0
    )
    # shift = s Sigma c in every step but the last: KL = s^2 |c|^2 / 2 times the sum of Sigma.
    expected = scale**2 * (0.7**2 + 0.4**2) / 2 * sum(t.variance for t in schedule.transitions() if not t.last)
    torch.testing.assert_close(divergence, torch.full((8,), expected, dtype=torch.float64), atol=0, rtol=1e-9)


def test_a_stabilizer_may_see_the_step():
    class Sees:
        def init(self, x):
            return []

        def update(self, state, g, step):
            return [*state, step], g / step.strength

    recorded = []

    class Records(Sees):
        def update(self, state, g, step):
            recorded.append(step)
            return super().update(state, g, step)

    schedule = SCHEDULE.respaced(4)
    for stabilizer in (Records(), ng.chain(ng.EMA(0.0), Records())):
        recorded.clear()
        guidance = ng.ClassifierGuidance(MIXTURE.classifier, 1, 2.0, at="x0", stabilizer=stabilizer)
        steps = [step for step in chain_of(ng.DDPM(), schedule, guidance=guidance) if step.shift is not None]
        levels = [t for t in schedule.transitions() if not t.last]
        assert recorded == [StabilizerStep(t.noise_level, math.sqrt(t.variance), 2.0 * t.variance) for t in levels]
        for step in steps:
            torch.testing.assert_close(step.shift, step.gradient, atol=1e-9, rtol=1e-9)


def test_samplers_by_name_and_value_are_the_same():
    for name, value, options in (
        ("ddpm", ng.DDPM(), {}),
        ("ddim", ng.DDIM(eta=0.5), {"eta": 0.5}),
        ("dpmsolver", ng.DPMSolver(), {}),
    ):
        by_name, by_value = chain_of(name, SCHEDULE.respaced(5), **options), chain_of(value, SCHEDULE.respaced(5))
        assert torch.equal(by_name[-1].x, by_value[-1].x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ng.DDIM(eta=1.5), "eta is 1.5"),
        (lambda: ng.DPMSolver("dpmsolver"), "algorithm is 'dpmsolver'"),
        (lambda: ng.DPMSolver(order=3), "order is 3; it must be 1 or 2"),
        (lambda: chain_of("euler", SCHEDULE), "sampler is 'euler'"),
        (lambda: chain_of(ng.DPMSolver(), SCHEDULE, eta=0.5), "eta belongs to the sampler 'ddim'"),
        (lambda: ng.ClassifierGuidance(MIXTURE.classifier, 0, 1.0, trust_radius=0.0), "trust_radius is 0.0"),
        (lambda: ng.ClassifierGuidance(MIXTURE.classifier, 0, 1.0, trust_radius=math.nan), "trust_radius is nan"),
    ],
)
def test_guards(make, message):
    with pytest.raises(ValueError, match=message):
        make()
