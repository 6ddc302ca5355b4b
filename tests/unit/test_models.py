"""Checkpoints that go out and come back, in the formats that diffusers and torchvision read."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from diffusers import DDPMPipeline, DDPMScheduler
from safetensors.torch import load_file, save_file

from nonrobust_guidance.data import load_split, prepare_data
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.models.classifiers import CrossEntropy, load_classifier, train_classifier
from nonrobust_guidance.models.diffusion import load_diffusion, train_diffusion
from nonrobust_guidance.models.images import add_noise, to_uint8, to_unit_range
from nonrobust_guidance.models.judge import decode_factors, encode_factors
from nonrobust_guidance.schedule import Schedule

TRAINING = {
    "seed": 0,
    "steps": 2,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "weight_decay": 0.01,
    "gradient_clip": 1.0,
    "ema_decay": None,
    "precision": "fp32",
    "checkpoint_every": 10,
}
CONFIG = {
    "diffusion": {
        "name": "diffusion",
        "schedule": {"num_steps": 40, "beta_start": 1e-4, "beta_end": 0.2},
        "unet": {
            "block_out_channels": [8, 16],
            "layers_per_block": 1,
            "attention_levels": [1],
            "attention_head_dim": 8,
            "norm_num_groups": 4,
        },
        "training": TRAINING,
    },
    "classifiers": {
        "robust": {"architecture": "mobilenet_v3_small", "input_size": 32, "noised": True, "training": TRAINING},
        "nonrobust": {"architecture": "resnet18", "input_size": 32, "noised": False, "training": TRAINING},
        "judge": {"architecture": "judge_cnn", "input_size": None, "noised": False, "training": TRAINING},
    },
}
DATASET = {
    "name": "few",
    "kind": "sportballs",
    "seed": 0,
    "image_size": 16,
    "ball_size": 0.625,
    "scale_range": [0.5, 1.0],
    "num_images": {"train": 16, "validation": 8, "test": 8},
    "independent_draws": True,
    "sprites": None,
    "classes": ["baseball", "basketball", "volleyball", "soccer"],
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A U-Net and three classifiers, trained for two steps each."""
    folder = tmp_path_factory.mktemp("checkpoints")
    prepare_data(DATASET, folder / "data")
    train_diffusion(CONFIG, folder / "data", folder / "diffusion")
    for name in CONFIG["classifiers"]:
        train_classifier(CONFIG, name, folder / "data", folder / name)
    return folder


def test_noise_is_added_as_diffusers_adds_it() -> None:
    scheduler = DDPMScheduler(num_train_timesteps=40, beta_start=1e-4, beta_end=0.2)
    x, eps, t = torch.rand(5, 3, 4, 4) * 2 - 1, torch.randn(5, 3, 4, 4), torch.tensor([0, 1, 20, 38, 39])
    ours = add_noise(x, eps, Schedule.linear(40, 1e-4, 0.2).alpha_bars[t])
    torch.testing.assert_close(ours, scheduler.add_noise(x, eps, t), atol=1e-5, rtol=0)


def test_every_byte_survives_the_way_into_the_network_and_back() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    x = to_unit_range(images)
    assert (x.shape, x.min().item(), x.max().item()) == ((1, 3, 16, 16), -1.0, 1.0)
    assert np.array_equal(to_uint8(x), images)


def test_diffusers_opens_the_diffusion_model_and_agrees_with_it(checkpoints: Path) -> None:
    unet, schedule = load_diffusion(checkpoints / "diffusion")
    pipeline = DDPMPipeline.from_pretrained(checkpoints / "diffusion", local_files_only=True)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 30])
    torch.testing.assert_close(unet(x, t).sample, pipeline.unet(x, t).sample, atol=0, rtol=0)
    reference = pipeline.scheduler.alphas_cumprod.double()
    torch.testing.assert_close(schedule.alpha_bars, reference, atol=1e-6, rtol=0)
    assert not unet.training
    assert not any(p.requires_grad for p in unet.parameters())


def test_torchvision_opens_a_guiding_classifier(checkpoints: Path) -> None:
    theirs = torchvision.models.get_model("resnet18", weights=None, num_classes=4)
    theirs.load_state_dict(load_file(checkpoints / "nonrobust" / "model.safetensors"))
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(load_classifier(checkpoints / "nonrobust")(x), theirs.eval()(x))


def test_the_judge_has_one_class_more_and_knows_the_factors(checkpoints: Path) -> None:
    judge, x = load_classifier(checkpoints / "judge"), torch.rand(5, 3, 16, 16) * 2 - 1
    assert judge(x).shape == (5, 5)
    assert judge.features(x).shape == (5, 48)
    assert judge.judge(x)[1].shape == (5, 4)
    assert json.loads((checkpoints / "judge/config.json").read_text())["classes"][-1] == "none of these"


def test_angles_are_learnt_as_points_on_the_circle() -> None:
    factors = torch.tensor([[0.25, 0.0], [0.5, 90.0], [0.75, 300.0]])
    code = encode_factors(factors, ("x", "rotation"))
    # x, then cosine and sine of 1, 2, 3 and 5 times 90 degrees
    torch.testing.assert_close(code[1], torch.tensor([0.5, 0, 1, -1, 0, 0, -1, 0, 1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(decode_factors(code, ("x", "rotation")), factors, atol=1e-6, rtol=0)


def test_an_angle_seen_through_a_symmetry_is_known_up_to_it() -> None:
    code = encode_factors(torch.tensor([[200.0]]), ("rotation",))
    code[:, [0, 1, 4, 5, 6, 7]] = 0.0  # a ball that half a turn leaves as it is shows the second harmonic alone
    assert decode_factors(code, ("rotation",)).item() % 180 == 20.0


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("diffusion/unet/diffusion_pytorch_model.safetensors", "truncated"),
        ("diffusion/unet/config.json", "truncated"),
        ("diffusion/scheduler/scheduler_config.json", "truncated"),
        ("diffusion/unet/diffusion_pytorch_model.safetensors", "foreign"),
        ("diffusion/unet/diffusion_pytorch_model.safetensors", "missing"),
        ("robust/model.safetensors", "truncated"),
        ("robust/model.safetensors", "foreign"),
        ("robust/model.safetensors", "missing"),
        ("robust/config.json", "truncated"),
        ("judge/config.json", "missing"),
    ],
)
def test_a_damaged_checkpoint_is_named_in_one_sentence(checkpoints: Path, file: str, damage: str) -> None:
    path = checkpoints / file
    original = path.read_bytes()
    load = load_diffusion if file.startswith("diffusion") else load_classifier
    try:
        if damage == "truncated":
            path.write_bytes(original[: len(original) // 2])
        elif damage == "foreign":
            save_file({"something": torch.zeros(1)}, path)
        else:
            path.unlink()
        with pytest.raises(UserError) as error:
            load(checkpoints / file.split("/")[0])
    finally:
        path.write_bytes(original)
    assert str(checkpoints / file.split("/")[0]) in str(error.value)
    assert "\n" not in str(error.value)


def test_validation_accuracy_is_of_images_noised_as_in_training(checkpoints: Path) -> None:
    split = load_split(checkpoints / "data", "validation")

    class Bright(torch.nn.Module):
        """Calls an image class 0, 1, 2 or 3 by its place in the split, as long as no noise is in it."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            known = to_unit_range(split.images)
            match = torch.stack([(known - image).abs().amax((1, 2, 3)) < 1e-6 for image in x])
            labels = torch.as_tensor(np.asarray(split.labels))
            return torch.stack([(match & (labels == k)).any(1).float() for k in range(4)], dim=1)

    assert CrossEntropy(Bright(), split, None).accuracy(split, seed=0) == 1.0
    noised = CrossEntropy(Bright(), split, Schedule.linear(40, 0.1, 0.2))
    assert noised.accuracy(split, seed=0) == np.mean(np.asarray(split.labels) == 0)  # all logits 0: the first class
