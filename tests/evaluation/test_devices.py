"""Extractors give their features on a GPU, also where none is at hand to show it."""

import pytest
import torch

from bench import registry
from evals.dinov2 import DINOv2
from evals.inception import CleanInception, Inception, LegacyInception
from tests.helpers.fake_gpu import fake_gpu
from tests.helpers.inception_weights import write_inception


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    return write_inception(tmp_path_factory.mktemp("weights") / "inception.pth")


@pytest.mark.parametrize("name", ["digits", "fashion", "pixels"])
def test_an_extractor_computes_where_it_was_moved(name):
    extractor = registry.extractors.get(name)()
    spec = extractor.image_spec
    shape = spec.shape if spec else (3, 32, 32)
    with fake_gpu() as cuda, torch.no_grad():
        extractor.to(cuda)
        features = extractor(torch.zeros(2, *shape, dtype=torch.uint8, device=cuda))
        assert {feature.device for feature in features.values()} == {torch.device("cuda", 0)}
        assert {len(feature) for feature in features.values()} == {2}


@pytest.mark.parametrize("kind", [Inception, CleanInception, LegacyInception])
def test_inceptions_network_and_its_last_layer_move_together(kind, inception_weights):
    extractor = kind(inception_weights).to(torch.device("meta"))
    assert {p.device.type for p in (*extractor.body.parameters(), extractor.head)} == {"meta"}


def test_every_extractor_is_among_these_or_has_a_test_of_its_own():
    known = {registry.extractors.get(name) for name in registry.extractors.entries()}
    tried = {registry.extractors.get(name) for name in ("digits", "fashion", "pixels")}
    assert known == tried | {Inception, CleanInception, LegacyInception, DINOv2}
