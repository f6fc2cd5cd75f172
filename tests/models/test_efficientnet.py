"""AudioEfficientNet against timm's own."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from birdnb.config import ModelSettings
from birdnb.files import BirdnbError
from birdnb.models import build_model, parameter_groups
from birdnb.models.efficientnet import AudioEfficientNet
from birdnb.models.weights import is_local, save_weights, weights_of
from birdnb.training.devices import convert_sync_batchnorm


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """timm's network for colour images and 1,000 classes, saved as the hub keeps it."""
    torch.manual_seed(0)
    model = timm.create_model("efficientnet_b2", pretrained=False).eval()
    folder = tmp_path_factory.mktemp("imagenet")
    save_file(model.state_dict(), folder / "model.safetensors")
    torch.save(model.state_dict(), folder / "saved.pth")
    return folder, model


@pytest.mark.parametrize("n_frames", [130, 173, 216])
def test_logits_for_clips_of_3_4_and_5_seconds(n_frames, imagenet):
    model = AudioEfficientNet(12).eval()
    x = torch.randn(2, 128, n_frames)
    logits = model(x)
    assert logits.shape == (2, 12) and torch.isfinite(logits).all()
    assert model.embed(x).shape == (2, 1408)


@pytest.mark.parametrize("name", ["efficientnet_b2", "ast", "mfcc"])
def test_statistics_over_several_gpus_leave_the_network_as_it_is(name):
    model, x = build_model(name, 12, 173).eval(), torch.randn(2, 128, 173)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(
            convert_sync_batchnorm(model).eval()(x), expected, rtol=0, atol=0
        )
    assert any(isinstance(part, nn.SyncBatchNorm) for part in model.modules())


@pytest.mark.parametrize("name", ["", "model.safetensors", "saved.pth"])
def test_local_colour_weights_see_a_spectrogram_as_a_grey_image(name, imagenet):
    folder, theirs = imagenet
    own = build_model("efficientnet_b2", 12, 173, str(folder / name)).eval()
    x = torch.randn(2, 128, 173)
    with torch.no_grad():
        expected = theirs.forward_head(
            theirs.forward_features(x[:, None].expand(2, 3, 128, 173)), pre_logits=True
        )
        torch.testing.assert_close(own.embed(x), expected, rtol=1e-3, atol=1e-4)
    assert own.head.weight.shape == (12, 1408)


def test_own_weights_come_back_with_a_new_head(tmp_path):
    before = AudioEfficientNet(40)
    path = save_weights(tmp_path / "efficientnet_b2.safetensors", weights_of(before, torch.float16))
    assert path.stat().st_size < 20e6
    after = build_model("efficientnet_b2", 12, 173, str(path))
    for name, tensor in after.state_dict().items():
        if "classifier" not in name:
            expected = before.state_dict()[name]
            torch.testing.assert_close(
                tensor, expected.half().float() if expected.is_floating_point() else expected
            )


def test_another_efficientnet_of_timms_with_its_own_weights(tmp_path):
    settings = ModelSettings("efficientnet_b2", size="tf_efficientnet_lite0")
    torch.manual_seed(0)
    theirs = timm.create_model(settings.size, pretrained=False).eval()
    save_file(theirs.state_dict(), tmp_path / "lite0.safetensors")
    path = str(tmp_path / "lite0.safetensors")
    own = build_model(settings.name, 12, 173, path, size=settings.size).eval()
    x = torch.randn(2, 128, 173)
    with torch.no_grad():
        expected = theirs.forward_head(
            theirs.forward_features(x[:, None].expand(2, 3, 128, 173)), pre_logits=True
        )
        torch.testing.assert_close(own.embed(x), expected, rtol=1e-3, atol=1e-4)
    assert own.size == settings.size  # what a run writes down, to be built from again
    with pytest.raises(BirdnbError, match=r"lite0\.safetensors does not fit"):
        build_model("efficientnet_b2", 12, 173, path)
    with pytest.raises(
        BirdnbError, match="is an EfficientNet-B2: leave size=tf_efficientnet_lite0"
    ):
        build_model(settings.name, 12, 173, "synthetic", size=settings.size)


@pytest.mark.parametrize("size", ["huge", "resnet50", "efficientnet_b99"])
def test_what_is_no_efficientnet_is_refused(size):
    with pytest.raises(BirdnbError, match=f"timm has no EfficientNet '{size}': set size"):
        build_model("efficientnet_b2", 3, 173, size=size)


@pytest.mark.parametrize("family", ["resnet18", "mobilenetv3_small_050"])
def test_a_hub_id_of_another_family_is_told_in_words(family, monkeypatch):
    theirs = timm.create_model(family, in_chans=1, num_classes=3)
    # the hub's part alone is left out: what comes from there is this network
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **own: theirs)
    said = f"timm/{family}', a {type(theirs).__name__} of timm's without .*hub id of an Efficient"
    with pytest.raises(BirdnbError, match=said):
        build_model("efficientnet_b2", 3, 173, f"timm/{family}")


def test_weights_of_something_else_are_refused(tmp_path):
    save_file({"conv_stem.weight": torch.zeros(16, 3, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(BirdnbError, match=r"other\.safetensors does not fit.*missing.*more"):
        build_model("efficientnet_b2", 3, 173, str(tmp_path / "other.safetensors"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BirdnbError, match="no table of tensors"):
        build_model("efficientnet_b2", 3, 173, str(tmp_path / "list.pth"))
    with pytest.raises(BirdnbError, match=r"holds none of model\.safetensors"):
        (tmp_path / "empty").mkdir()
        build_model("efficientnet_b2", 3, 173, str(tmp_path / "empty"))


def test_another_architecture_is_built_again_from_its_size():
    assert build_model("efficientnet_b2", 3, 173).size == "efficientnet_b2"
    other = AudioEfficientNet(3, backbone=timm.create_model("efficientnet_b0", in_chans=1))
    again = build_model("efficientnet_b2", 1000, 173, size=other.size)
    again.load_state_dict(other.state_dict())


def test_weights_of_another_architecture_are_loaded_into_its_size(tmp_path):
    photographs = timm.create_model("efficientnet_b0", num_classes=1000)  # three colours
    path = tmp_path / "photographs.safetensors"
    save_file(photographs.state_dict(), path)
    model = build_model("efficientnet_b2", 3, 173, str(path), size="efficientnet_b0").eval()
    x = torch.randn(2, 128, 173)
    grey = x.unsqueeze(1).expand(-1, 3, -1, -1)
    wanted = photographs.eval().forward_head(photographs.forward_features(grey), pre_logits=True)
    torch.testing.assert_close(model.embed(x), wanted, rtol=1e-3, atol=1e-4)
    with pytest.raises(BirdnbError, match=r"photographs\.safetensors does not fit"):
        build_model("efficientnet_b2", 3, 173, str(path))


@pytest.mark.parametrize("name", ["ast", "efficientnet_b2"])
@pytest.mark.parametrize("word", ["falsch", "efficientnet_b2.ra_in1k", "no/such/folder", ""])
def test_what_is_neither_a_path_nor_a_hub_id_is_refused_at_once(name, word):
    """Without asking the hub, which would be told as "could not be loaded"."""
    with pytest.raises(
        BirdnbError,
        match=f"'{word}'.*give false, synthetic, true, a hub id such as owner/name, or the path of",
    ):
        build_model(name, 3, 173, word)


def test_a_missing_file_asks_for_a_file_or_folder(tmp_path):
    with pytest.raises(
        BirdnbError, match=r"no weights at .*my\.safetensors: give a file or a local folder as"
    ):
        build_model("efficientnet_b2", 3, 173, str(tmp_path / "my.safetensors"))
    assert (
        is_local(str(tmp_path))
        and not is_local("owner/name")
        and not is_local("timm/efficientnet_b2.ra_in1k@v1")
    )


def test_every_parameter_is_in_one_group():
    model = AudioEfficientNet(5, drop_path=0.2)
    groups = parameter_groups(model, 3e-4, 1e-3, 0.05, layer_decay=0.9)
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    lr = {group["name"]: group["lr"] for group in groups}
    assert (
        lr["head"] == 1e-3
        and lr["layer 8"] == pytest.approx(3e-4)
        and lr["layer 0"] == pytest.approx(3e-4 * 0.9**8)
    )
    assert all(
        group["weight_decay"] == 0 for group in groups if all(p.ndim == 1 for p in group["params"])
    )
