"""AudioAST against transformers' own AST."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import ASTConfig, ASTForAudioClassification

from birdnb.files import BirdnbError
from birdnb.models import build_model, parameter_groups
from birdnb.models.ast import AudioAST, fit_positions
from birdnb.models.stem import ConvStem
from birdnb.models.weights import read_weights, save_weights, weights_of

POSITIONS = "audio_spectrogram_transformer.embeddings.position_embeddings"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small AST as transformers saves it: 527 classes, 1,024 frames, 12 x 101 patches.

    No parameter is zero.
    """
    torch.manual_seed(1)
    config = ASTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        num_labels=527,
    )
    model = ASTForAudioClassification(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize("n_frames", [130, 173, 216])
@pytest.mark.parametrize("source", ["tiny", "checkpoint"])
def test_logits_for_clips_of_3_4_and_5_seconds(n_frames, source, checkpoint):
    pretrained = str(checkpoint[0]) if source == "checkpoint" else False
    model = build_model("ast", 12, n_frames, pretrained).eval()
    x = torch.randn(3, 128, n_frames)
    logits = model(x)
    assert logits.shape == (3, 12) and torch.isfinite(logits).all()
    torch.testing.assert_close(model.head(model.embed(x)), logits)


def test_base_is_the_published_size():
    with torch.device("meta"):
        own, theirs = (
            AudioAST(527, 1024, size="base"),
            ASTForAudioClassification(ASTConfig(num_labels=527)),
        )
    count = sum(p.numel() for p in own.parameters())
    # "87M" in the paper: worked by hand
    assert count == sum(p.numel() for p in theirs.parameters()) == 86_594_063


def test_tiny_fits_ten_megabytes_in_float16(tmp_path):
    path = save_weights(tmp_path / "tiny.safetensors", weights_of(AudioAST(90, 173), torch.float16))
    assert path.stat().st_size < 10e6


def test_same_forward_pass_as_transformers(checkpoint):
    folder, theirs = checkpoint
    own = build_model("ast", 527, 1024, str(folder)).eval()
    own.head.load_state_dict(theirs.classifier.state_dict())
    # unit variance, so halved for a checkpoint that saw (x - mean) / (2 std)
    x = torch.randn(2, 128, 1024)
    with torch.no_grad():
        torch.testing.assert_close(
            own(x), theirs(0.5 * x.transpose(1, 2)).logits, rtol=1e-4, atol=1e-5
        )


def test_every_tensor_but_the_head_is_the_checkpoints(checkpoint):
    folder, _ = checkpoint
    theirs = ASTForAudioClassification.from_pretrained(folder).state_dict()
    own = {
        f"audio_spectrogram_transformer.{k}": v
        for k, v in build_model("ast", 12, 173, str(folder)).encoder.state_dict().items()
    }
    encoder = {name for name in theirs if not name.startswith("classifier.")}
    assert set(own) == encoder
    for name in encoder - {POSITIONS}:
        assert torch.equal(own[name], theirs[name]), name
    # mel, time, width
    tokens, grid = (theirs[POSITIONS][:, :2], theirs[POSITIONS][:, 2:].reshape(12, 101, 24))
    # 173 frames make (173 - 16) // 10 + 1 = 16 steps: the AST authors take 50 - 16 / 2 = 42 and the
    # 15 after it
    cut = torch.cat([tokens, grid[:, 42:58].reshape(1, 12 * 16, 24)], dim=1)
    assert torch.equal(own[POSITIONS], cut)


def test_the_head_is_new_even_for_as_many_classes(checkpoint):
    folder, theirs = checkpoint
    head = build_model("ast", 527, 173, str(folder)).head
    assert head.dense.weight.shape == (527, 24)
    assert not torch.equal(head.dense.weight, theirs.classifier.dense.weight)
    assert torch.equal(head.dense.bias, torch.zeros(527))


def test_longer_clips_interpolate_positions(checkpoint):
    folder, theirs = checkpoint
    # 202 steps, twice 101
    own = build_model("ast", 12, 2034, str(folder)).encoder.embeddings.position_embeddings
    grid = theirs.state_dict()[POSITIONS][:, 2:].reshape(12, 101, 24)
    longer = own[:, 2:].reshape(12, 202, 24)
    assert torch.equal(own[:, :2], theirs.state_dict()[POSITIONS][:, :2])
    # twice the steps: each new one lies a quarter step off an old one
    expected = 0.75 * grid[:, 1:-1] + 0.25 * grid[:, :-2]
    torch.testing.assert_close(longer[:, 2:-2:2], expected)


def test_positions_kept_at_the_checkpoints_length():
    table = torch.randn(1, 2 + 8 * 22, 5)
    assert torch.equal(fit_positions(table, 8, 22), table)


def test_unknown_or_missing_tensors_are_refused(checkpoint, tmp_path):
    _, theirs = checkpoint
    theirs.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in state if "layernorm_before.weight" in name)
    del state[lost]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BirdnbError, match="layernorm_before"):
        build_model("ast", 12, 173, str(tmp_path))


def test_damaged_checkpoints_are_refused(checkpoint, tmp_path):
    _, theirs = checkpoint
    theirs.save_pretrained(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BirdnbError, match="pretrained=false"):
        build_model("ast", 12, 173, str(tmp_path))
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"not a checkpoint")
    with pytest.raises(BirdnbError, match=r"own\.safetensors cannot be read"):
        build_model("ast", 12, 173, str(own))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(BirdnbError, match=r"nowhere.*pretrained=false"):
        build_model("ast", 12, 173, str(tmp_path / "nowhere"))


def test_own_weights_for_other_species_and_another_length(tmp_path):
    pretraining = AudioAST(40, 173)
    path = save_weights(tmp_path / "own.safetensors", weights_of(pretraining))
    own = build_model("ast", 12, 130, str(path))
    for name, tensor in own.encoder.state_dict().items():
        if not name.endswith("position_embeddings"):
            assert torch.equal(tensor, pretraining.encoder.state_dict()[name]), name
    before = pretraining.encoder.embeddings.position_embeddings[:, 2:].reshape(8, 22, 192)
    # 130 frames are 17 steps
    after = own.encoder.embeddings.position_embeddings[:, 2:].reshape(8, 17, 192)
    assert torch.equal(after, before[:, 3:20])  # 22 // 2 - 17 // 2 = 3
    assert own.input_scale == 1


def test_the_shipped_weights_are_of_the_tiny_size():
    with pytest.raises(BirdnbError, match="set size=tiny"):
        build_model("ast", 12, 176, "synthetic", size="base")


def test_a_fine_tuned_checkpoint_remembers_its_input_scale(checkpoint, tmp_path):
    tuned = build_model("ast", 12, 173, str(checkpoint[0]))
    path = save_weights(tmp_path / "tuned.safetensors", weights_of(tuned))
    assert read_weights(path)["input_scale"] == 0.5
    with pytest.raises(BirdnbError, match="another model or size"):
        build_model("ast", 12, 173, str(path))  # 24 wide, not the tiny size


def test_every_parameter_learns():
    model = AudioAST(5, 173)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    # the layers begin as identities: what is inside them learns from the second step on
    for _ in range(2):
        optimizer.step()
        optimizer.zero_grad()
        model(torch.randn(4, 128, 173)).square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("n_frames", [130, 173, 216, 401])
def test_stem_grid_is_what_the_stem_makes(n_frames):
    stem = ConvStem(24)
    n_mel, n_time = stem.grid(n_frames)
    assert (n_mel, n_time) == (8, -(-n_frames // 8))
    assert stem(torch.zeros(2, n_frames, 128)).shape == (2, n_mel * n_time, 24)


def test_deeper_layers_are_dropped_more_often_and_only_in_training():
    model = AudioAST(3, 173, drop_path=0.3)
    assert [layer.dropout.drop_prob for layer in model.encoder.layers] == pytest.approx(
        [0.0, 0.1, 0.2, 0.3]
    )
    for layer in model.encoder.layers:  # they begin as identities, which nothing could be seen of
        nn.init.normal_(layer.attention.o_proj.weight)
    x = torch.randn(4, 128, 173)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_a_network_of_a_checkpoints_size_is_built_again_from_its_size(checkpoint):
    tuned = build_model("ast", 12, 173, str(checkpoint[0])).eval()
    again = build_model("ast", 12, 173, size=json.loads(json.dumps(tuned.size))).eval()
    again.load_state_dict(tuned.state_dict())
    x = torch.randn(2, 128, 173)
    torch.testing.assert_close(again(x), tuned(x), rtol=0, atol=0)
    assert build_model("ast", 12, 173).size == "tiny"


@pytest.mark.parametrize("device", ["cpu", "meta", "cuda"])
def test_device_placement(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    model = AudioAST(4, 173).to(device)
    logits = model(torch.zeros(2, 128, 173, device=device))
    assert logits.device.type == device
    assert {t.device.type for t in model.state_dict().values()} == {device}


def test_parameter_groups_by_layer():
    model = AudioAST(7, 173)
    groups = parameter_groups(
        model, lr_backbone=1e-4, lr_head=1e-3, weight_decay=0.05, layer_decay=0.5
    )
    listed = [p for group in groups for p in group["params"]]
    assert len(listed) == len({id(p) for p in listed}) == len(list(model.parameters()))
    group_of = {id(p): group for group in groups for p in group["params"]}
    of = {name: group_of[id(p)] for name, p in model.named_parameters()}
    assert of["head.dense.weight"]["lr"] == 1e-3 and of["head.dense.weight"]["weight_decay"] == 0.05
    assert (
        of["encoder.layernorm.weight"]["lr"] == 1e-4
        and of["encoder.layernorm.weight"]["weight_decay"] == 0
    )
    assert of["encoder.layers.3.mlp.fc1.weight"]["lr"] == pytest.approx(5e-5)
    assert of["encoder.layers.0.mlp.fc1.weight"]["lr"] == pytest.approx(1e-4 / 2**4)
    assert of["encoder.layers.0.mlp.fc1.weight"]["weight_decay"] == 0.05
    assert of["encoder.layers.0.mlp.fc1.bias"]["weight_decay"] == 0
    for name in ("position_embeddings", "cls_token", "distillation_token"):
        assert of[f"encoder.embeddings.{name}"]["weight_decay"] == 0
        assert of[f"encoder.embeddings.{name}"]["lr"] == pytest.approx(1e-4 / 2**5)


def test_unknown_names_are_errors():
    with pytest.raises(BirdnbError, match="choose one of ast, efficientnet_b2, mfcc"):
        build_model("resnet", 3, 173)
    with pytest.raises(BirdnbError, match="choose one of tiny, base"):
        build_model("ast", 3, 173, size="huge")


def test_importing_the_package_of_models_needs_torch_at_most():
    heavy = ("transformers", "timm", "sklearn", "librosa")
    code = f"import sys, birdnb.models; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
