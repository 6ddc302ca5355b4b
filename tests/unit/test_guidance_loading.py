"""Classifiers of others: preprocessing against torchvision's own transforms, weights in both published layouts."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from torchvision.transforms import v2

import nonrobust_guidance as ng


class Record(nn.Module):
    def forward(self, x):
        self.seen = x
        return x.flatten(1)[:, :2]


@pytest.mark.parametrize("size", [24, (10, 14), 5])
def test_preprocess_is_torchvisions(size):
    inner = Record().eval()
    x = torch.rand(2, 3, 12, 12) * 2 - 1
    ng.preprocess(inner, size=size)(x)
    pair = [size, size] if isinstance(size, int) else list(size)
    reference = v2.Compose([v2.Resize(pair), v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    torch.testing.assert_close(inner.seen, reference((x + 1) / 2), atol=1e-5, rtol=1e-5)


def test_preprocess_is_differentiable_and_follows_the_classifiers_mode():
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    wrapped = ng.preprocess(Record().eval(), size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))
    assert not wrapped.training
    wrapped(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert ng.preprocess(Record().train()).training
    ng.ClassifierGuidance(wrapped, 0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ng.preprocess(Record(), size=0), "size is 0"),
        (lambda: ng.preprocess(Record(), mean=(0.5,), std=(0.5, 0.5)), "one of each a channel"),
        (lambda: ng.preprocess(Record(), mean=(0.5,), std=(0.0,)), "std greater than 0"),
        (lambda: ng.preprocess(Record())(torch.zeros(1, 2, 4, 4)), "2 channels"),
    ],
)
def test_preprocess_guards(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("prefix", ["", "classifier."])
@pytest.mark.parametrize(("architecture", "num_logits"), [("mobilenet_v3_small", 1), ("resnet18", 5)])
def test_both_layouts_load(tmp_path, architecture, num_logits, prefix):
    torch.manual_seed(0)
    original = models.get_model(architecture, num_classes=num_logits).eval()
    save_file({prefix + name: tensor for name, tensor in original.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = ng.load_torchvision_classifier(tmp_path / "w.safetensors", architecture)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), original(x))
    assert not loaded.training and not any(weight.requires_grad for weight in loaded.parameters())


def test_wrong_files_are_named(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(FileNotFoundError, match="There is no file"):
        ng.load_torchvision_classifier(path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        ng.load_torchvision_classifier(path)
    save_file({"fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match="does not hold the weights of mobilenet_v3_small"):
        ng.load_torchvision_classifier(path)
    with pytest.raises(ValueError, match="does not hold the weights of resnet18: Missing key"):
        ng.load_torchvision_classifier(path, "resnet18")
    with pytest.raises(ValueError, match="no classification model"):
        ng.load_torchvision_classifier(path, "resnet1")
