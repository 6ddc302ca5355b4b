"""The whole way with images of a user: a folder of two classes, no factors, guides with a single logit."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nonrobust_guidance.config import parse_config
from nonrobust_guidance.data import load_split, prepare_data
from nonrobust_guidance.metrics.cells import list_cells
from nonrobust_guidance.metrics.distances.references import measure_references
from nonrobust_guidance.metrics.gather import gather_scores
from nonrobust_guidance.metrics.gradients.noise_accuracy import measure_noise_accuracy
from nonrobust_guidance.metrics.score import score_method
from nonrobust_guidance.metrics.settings import NoiseAccuracy, Scoring
from nonrobust_guidance.models.classifiers import load_classifier, train_classifier
from nonrobust_guidance.models.diffusion import train_diffusion
from nonrobust_guidance.models.origins import TrainedDiffusion, trained_models
from nonrobust_guidance.sampling.draw import draw_samples
from nonrobust_guidance.sampling.settings import Chain

TRAINING = {"seed": 0, "steps": 40, "batch_size": 16, "learning_rate": 2.0e-3}
GUIDE = {"architecture": "resnet18", "input_size": 16, "training": TRAINING}


def write_images(root):
    rng = np.random.default_rng(0)
    for name, middle in (("dark", 60), ("light", 190)):
        (root / name).mkdir(parents=True)
        for i in range(60):
            picture = rng.integers(middle - 40, middle + 40, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / name / f"{i}.jpg")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with data, checkpoints, samples and tables, and the configuration they were made by."""
    folder = tmp_path_factory.mktemp("run")
    write_images(folder / "mine")
    config = parse_config(
        {
            "run": "mine",
            "dataset": {
                "name": "mine",
                "kind": "folder",
                "root": str(folder / "mine"),
                "classes": ["dark", "light"],
                "image_size": 16,
                "split": {"validation": 0.1, "test": 0.2},
            },
            "diffusion": {
                "schedule": {"num_steps": 20, "beta_start": 0.01, "beta_end": 0.5},
                "unet": {"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4},
                "training": TRAINING,
            },
            "classifiers": {
                # None of the tests looks at how well this one does.
                "robust": {**GUIDE, "noised": True, "training": {**TRAINING, "steps": 2}},
                "nonrobust": {**GUIDE, "noised": False},
                "judge": {"architecture": "judge_cnn", "noised": False, "training": TRAINING},
            },
            "sampling": {
                "steps": 4,
                "num_samples": 8,
                "seeds": [0],
                "targets": ["dark", "light"],
                "methods": {
                    "unguided": {},
                    "nonrobust_x0": {"classifier": "nonrobust", "at": "x0", "scales": [30]},
                },
            },
            "metrics": {"judge": "judge", "bootstrap": {"resamples": 5}, "noise_levels": 2, "num_noise_images": 20},
        },
        "mine.yaml",
    )
    data, checkpoints = folder / "data", folder / "checkpoints"
    prepare_data(config.dataset, data)
    for name, settings in trained_models(config).items():
        if isinstance(settings, TrainedDiffusion):
            train_diffusion(settings, data, checkpoints / name)
        else:
            train_classifier(settings, name, data, checkpoints / name)
    measure_references("judge", data, checkpoints / "judge", 100, data / "references" / "judge")
    for method, scale in (("unguided", 0), ("nonrobust_x0", 30)):
        cell = folder / "samples" / method / f"scale-{scale}" / "seed-0"
        drawn, chain, labels = config.sampling.methods[method], config.sampling.part(Chain), {"dark": 0, "light": 1}
        guide = checkpoints / drawn.classifier if drawn.classifier else None
        draw_samples(method, drawn, scale, {0: cell}, chain, labels, checkpoints / "diffusion", guide)
        score = folder / "scores" / f"{method}.csv"
        cells = [cell for cell in list_cells(config) if cell.method.name == method]
        places = (data, checkpoints, folder / "weights", folder / "samples", score)
        score_method(cells, config.metrics.part(Scoring), "nonrobust", *places, names={"run": "mine"})
    gather_scores(config.sampling.methods, folder / "scores", folder / "metrics.csv")
    guides = {name: checkpoints / name for name in ("robust", "nonrobust")}
    settings, bootstrap = config.metrics.part(NoiseAccuracy), config.metrics.bootstrap
    measure_noise_accuracy(settings, bootstrap, checkpoints / "diffusion", guides, data, folder / "noise_accuracy.csv")
    return folder


def test_a_guide_tells_two_classes_apart_by_one_logit(run):
    test = load_split(run / "data", "test")
    x = np.asarray(test.images, dtype=np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
    import torch

    logits = load_classifier(run / "checkpoints" / "nonrobust")(torch.from_numpy(x))
    assert logits.shape == (24, 1)
    assert ((logits[:, 0] > 0).numpy() == (test.labels == 1)).all()
    judge = load_classifier(run / "checkpoints" / "judge")
    assert judge(torch.from_numpy(x)).shape == (24, 3)


def test_every_cell_is_scored_for_both_targets(run):
    table = pd.read_csv(run / "metrics.csv")
    assert len(table) == 4
    assert {"share_dark", "share_light", "none_share"} <= set(table.columns)
    shares = table[["share_dark", "share_light", "none_share"]].sum(axis=1)
    np.testing.assert_allclose(shares, 1)
    noise = pd.read_csv(run / "noise_accuracy.csv")
    clean = noise[(noise["t"] == 0) & (noise["classifier"] == "nonrobust") & (noise["at"] == "xt")]
    assert clean["accuracy"].tolist() == [1.0]


def test_guidance_goes_toward_its_target_by_the_sign_of_the_logit(run):
    def brightness(target):
        path = run / "samples" / "nonrobust_x0" / "scale-30" / "seed-0" / f"{target}.npy"
        return np.load(path).mean()

    table = pd.read_csv(run / "metrics.csv")
    guided = table[table["method"] == "nonrobust_x0"].set_index("target")
    assert (guided["probability_self_mean"] > 0.5).all()
    assert brightness("dark") < brightness("light")
