"""The Inception paths on weights in the published formats, against clean-fid and torcheval on the same images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.fid import compute_fid, get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torcheval.metrics import FrechetInceptionDistance
from torchvision.models import inception_v3

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.metrics.distances import extractors
from nonrobust_guidance.metrics.distances.extractors import load_extractor
from nonrobust_guidance.metrics.distances.frechet import Gaussian, frechet_distance
from nonrobust_guidance.metrics.distances.inception_weights import INCEPTION_WEIGHTS
from nonrobust_guidance.metrics.distances.spaces import FEATURE_SPACES

Published = Callable[[str, Path], Path]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state_dict() -> dict[str, Tensor]:
    """Random weights under torchvision's names, scaled so that features neither vanish nor burst."""
    torch.manual_seed(1)
    model = inception_v3(weights=None, init_weights=False)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return model.state_dict()


@pytest.fixture
def torchvision_weights(tmp_path: Path, state_dict: dict[str, Tensor], published: Published) -> Path:
    file = tmp_path / INCEPTION_WEIGHTS["torchvision_inception"].name
    torch.save(state_dict, file)
    return published("torchvision_inception", file)


def photographs(n: int, seed: int) -> np.ndarray:
    """Images (n, 24, 24, 3) with edges and smooth parts."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.array(Image.fromarray(image).resize((24, 24), Image.Resampling.BILINEAR)) for image in small])


def saved(images: np.ndarray, folder: Path) -> str:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    return str(folder)


def test_inception_is_clean_fid_on_the_same_files(detector: Path, tmp_path: Path) -> None:
    one, two = photographs(60, 0), photographs(50, 1)
    network = InceptionV3W(str(detector.parent), download=False)
    folders = saved(one, tmp_path / "one"), saved(two, tmp_path / "two")
    options = {"mode": "clean", "num_workers": 0, "device": CPU, "verbose": False}
    extractor = load_extractor("inception", detector)
    ours = extractor.embed(one)
    assert ours.shape == (60, 2048)
    np.testing.assert_allclose(ours, get_folder_features(folders[0], network, **options), rtol=1e-4, atol=1e-5)
    # The whole of it on a part of the features: with all 2048 clean-fid takes half a minute for a matrix root.
    part = slice(None, None, 64)
    expected = compute_fid(*folders, custom_feat_extractor=lambda x: network(x)[:, part], **options)
    distance = frechet_distance(*(Gaussian.fit(features[:, part]) for features in (ours, extractor.embed(two))))
    assert distance == pytest.approx(expected, rel=1e-4)


def test_clean_fid_calls_the_detector_for_features(detector: Path) -> None:
    x = torch.rand(2, 3, 299, 299) * 255
    inside = InceptionV3W(str(detector.parent), download=False, resize_inside=True)
    outside = InceptionV3W(str(detector.parent), download=False)
    torch.testing.assert_close(inside(x), outside(x))


def test_torchvision_inception_is_torcheval(torchvision_weights: Path, state_dict: dict[str, Tensor]) -> None:
    model = inception_v3(weights=None, transform_input=True, init_weights=False)
    model.load_state_dict(state_dict)
    model.fc = nn.Identity()

    class Resizing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False))

    metric = FrechetInceptionDistance(model=Resizing().eval())
    one, two = photographs(5, 0), photographs(4, 1)
    for images, is_real in ((one, False), (two, True)):
        metric.update(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, is_real=is_real)
    extractor = load_extractor("torchvision_inception", torchvision_weights)
    ours = [extractor.embed(images) for images in (one, two)]
    assert ours[0].shape == (5, 2048)
    np.testing.assert_allclose(ours[0].sum(axis=0), metric.fake_sum, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours[1].T @ ours[1], metric.real_cov_sum, rtol=1e-3, atol=1e-4)
    distance = frechet_distance(Gaussian.fit(ours[0]), Gaussian.fit(ours[1]))
    # In float32 and with 2048 dimensions for five images, its own number has two figures.
    assert distance == pytest.approx(float(metric.compute()), rel=0.1)


def test_resizing_is_what_sets_them_apart(detector: Path, torchvision_weights: Path) -> None:
    spaces = [
        load_extractor(name, file).space
        for name, file in (("inception", detector), ("torchvision_inception", torchvision_weights))
    ]
    assert [space.frechet for space in spaces] == ["fid", "fid_torchvision"]
    assert len({name for space in FEATURE_SPACES.values() for name in (space.frechet, space.kernel, space.suffix)}) == 9


def test_batches_and_threads_change_nothing(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photographs(7, 0)
    extractor = load_extractor("inception", detector)
    together = extractor.embed(images)
    monkeypatch.setattr(extractors, "BATCH_SIZE", 3)
    parts = list(extractor.stream(images))
    assert [len(part) for part in parts] == [3, 3, 1]
    np.testing.assert_allclose(np.concatenate(parts), together, rtol=1e-4, atol=1e-6)


def test_other_weights_are_refused_before_they_are_opened(detector: Path, torchvision_weights: Path) -> None:
    for name, file in (("inception", detector), ("torchvision_inception", torchvision_weights)):
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(UserError, match=r"has the SHA-256 [0-9a-f]{64}; delete it, fetch https") as caught:
            load_extractor(name, file)
        assert str(file) in str(caught.value)
        file.unlink()
        with pytest.raises(UserError, match="is missing; run fetch-inception, or fetch https"):
            load_extractor(name, file)


def test_weights_of_another_network_are_named(tmp_path: Path, published: Published) -> None:
    file = tmp_path / "inception_v3_google-0cc3c7bd.pth"
    torch.save({"weight": torch.zeros(2)}, file)
    published("torchvision_inception", file)
    with pytest.raises(UserError, match="does not hold torchvision's Inception v3"):
        load_extractor("torchvision_inception", file)


def test_an_unknown_extractor(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'clip', which is unknown; use judge or inception"):
        load_extractor("clip", tmp_path)
