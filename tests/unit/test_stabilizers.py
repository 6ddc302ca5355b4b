"""Stabilizers against sequences worked by hand and against torch.optim.Adam."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nonrobust_guidance as ng


def run(stabilizer, gradients):
    state, out = stabilizer.init(gradients[0]), []
    for g in gradients:
        state, stabilized = stabilizer.update(state, g)
        out.append(stabilized)
    return out


def column(*values):
    return [torch.tensor(v, dtype=torch.float64).reshape(1, 1, 1, 1) for v in values]


def test_ema_by_hand():
    # beta = 0.5: 0.5 * 4 = 2; 0.5 * 2 + 0.5 * 8 = 5; 0.5 * 5 + 0.5 * (-3) = 1
    assert [v.item() for v in run(ng.EMA(0.5), column(4, 8, -3))] == [2.0, 5.0, 1.0]
    # divided by 1 - 0.5^n: 0.5, 0.75, 0.875
    corrected = [v.item() for v in run(ng.EMA(0.5, bias_correction=True), column(4, 8, -3))]
    assert corrected == pytest.approx([4.0, 5.0 / 0.75, 1.0 / 0.875])


def test_ema_099_reaches_half_strength_at_step_69():
    out = run(ng.EMA(0.99), column(*[1.0] * 70))
    assert out[67].item() < 0.5 <= out[68].item()


def test_adam_by_hand():
    # g = 2, -1 with beta1 = 0.9, beta2 = 0.99, eps = 0.1
    # m: 0.2, 0.9 * 0.2 - 0.1 = 0.08; v: 0.01 * 4 = 0.04, 0.99 * 0.04 + 0.01 = 0.0496
    out = [v.item() for v in run(ng.Adam(0.9, 0.99, eps=0.1), column(2, -1))]
    assert out == pytest.approx([0.2 / (0.2 + 0.1), 0.08 / (math.sqrt(0.0496) + 0.1)])


def test_adam_uncorrected_lengthens_early_steps():
    # A constant gradient: step 1 gives 0.1 / sqrt(0.001).
    assert run(ng.Adam(eps=1e-12), column(5.0))[0].item() == pytest.approx(0.1 / math.sqrt(0.001))


def test_adam_with_bias_correction_is_torch_adam():
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(25)]
    stabilized = run(ng.Adam(0.9, 0.999, eps=1e-4, bias_correction=True), gradients)
    weight = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = torch.optim.Adam([weight], lr=1.0, betas=(0.9, 0.999), eps=1e-4)
    for g, expected_step in zip(gradients, stabilized, strict=True):
        before = weight.detach().clone()
        weight.grad = g.clone()
        optimizer.step()
        torch.testing.assert_close(before - weight.detach(), expected_step, atol=1e-12, rtol=1e-9)


def test_clip_norm_and_normalize_act_on_each_sample():
    g = torch.zeros(3, 1, 2, 2)
    g[0, 0, 0] = torch.tensor([3.0, 4.0])  # norm 5
    g[1, 0, 0] = torch.tensor([0.3, 0.4])  # norm 0.5
    clipped = run(ng.ClipNorm(1.0), [g])[0]
    assert clipped.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert clipped[0, 0, 0].tolist() == pytest.approx([0.6, 0.8])
    unit = run(ng.Normalize(), [g])[0]
    assert unit.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0, 1.0, 0.0])


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1e25, 1e37])
def test_normalize_survives_gradients_whose_squares_do_not_fit_float32(size):
    unit = run(ng.Normalize(), [torch.full((1, 1, 2, 2), size)])[0]
    assert unit.flatten().tolist() == pytest.approx([0.5] * 4)


def test_chain_applies_from_left_to_right():
    g = column(4.0)[0]
    assert run(ng.chain(ng.EMA(0.5), ng.ClipNorm(1.5)), [g])[0].item() == 1.5
    assert run(ng.chain(ng.ClipNorm(1.5), ng.EMA(0.5)), [g])[0].item() == 0.75
    assert run(ng.chain(), [g])[0].item() == 4.0
    assert run(ng.Identity(), [g])[0].item() == 4.0


STABILIZERS = [
    ng.Identity(),
    ng.EMA(0.9),
    ng.EMA(0.7, bias_correction=True),
    ng.Adam(),
    ng.ClipNorm(0.5),
    ng.Normalize(),
    ng.chain(ng.ClipNorm(0.5), ng.Adam(bias_correction=True)),
]


@pytest.mark.parametrize("stabilizer", STABILIZERS, ids=str)
@given(seed=st.integers(0, 2**32 - 1))
def test_update_is_pure_and_keeps_samples_apart(stabilizer, seed):
    generator = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(3, 2, 2, 2, generator=generator) for _ in range(4)]
    kept = [g.clone() for g in gradients]
    first, second = run(stabilizer, gradients), run(stabilizer, gradients)
    alone = run(stabilizer, [g[1:2] for g in gradients])
    for a, b, c, g, k in zip(first, second, alone, gradients, kept, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a[1:2], c, atol=1e-6, rtol=1e-6)
        assert torch.equal(g, k)


def test_update_leaves_the_old_state_as_it_was():
    for stabilizer in STABILIZERS:
        state = stabilizer.init(torch.ones(1, 1, 1, 1))
        state, _ = stabilizer.update(state, torch.ones(1, 1, 1, 1))
        again = [stabilizer.update(state, torch.full((1, 1, 1, 1), 2.0))[1] for _ in range(2)]
        assert torch.equal(*again)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ng.EMA(1.0), "beta is 1.0"),
        (lambda: ng.EMA(-0.1), "beta is -0.1"),
        (lambda: ng.Adam(beta2=1.0), "beta2 is 1.0"),
        (lambda: ng.Adam(eps=0.0), "eps is 0.0"),
        (lambda: ng.ClipNorm(0.0), "max_norm is 0.0"),
    ],
)
def test_guards(make, message):
    with pytest.raises(ValueError, match=message):
        make()
