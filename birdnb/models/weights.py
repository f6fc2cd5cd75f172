"""Read and write the weights of a model as safetensors files."""

import re
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from birdnb.config import ModelSettings, key_of
from birdnb.files import BirdnbError, atomic_path, first_line, sha256_of, user_path

SHIPPED = Path(__file__).resolve().parent.parent / "weights"
# shipped, by the model's name
FILES = {"ast": "ast_tiny.safetensors", "efficientnet_b2": "efficientnet_b2.safetensors"}
NAMES_IN_A_FOLDER = ("model.safetensors", "best.safetensors", "pytorch_model.bin")
# owner/name, with a revision where one is wanted
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
REMEDY = (
    "give a file or a local folder as `pretrained`, or fill a hub cache on a machine with internet "
    "and point HF_HOME to it, "
    "or set pretrained=false to train from scratch"
)


def shipped(model: str) -> Path:
    """Return the path of a model's shipped checkpoint, or raise BirdnbError: this copy has none."""
    path = SHIPPED / FILES[model]
    if not path.is_file():
        raise BirdnbError(
            f"pretrained=synthetic: {path.name} is not shipped with this copy of birdnb (looked in "
            f"birdnb/weights); "
            "set pretrained=false to train from scratch, or give the file that `python -m "
            "birdnb.pretraining` wrote"
        )
    return path


def is_local(source: str) -> bool:
    """Tell whether ``source`` means a file or folder here rather than a hub id.

    Raises BirdnbError when it can be neither.
    """
    path = user_path(source)
    looks_local = (
        path.is_absolute()
        or source.startswith(".")
        or path.suffix in (".safetensors", ".bin", ".pth")
    )
    if looks_local or (source and path.exists()):
        return True
    if not HUB_ID.fullmatch(source):
        raise BirdnbError(
            f"pretrained is {source!r}, and nothing here is called that: "
            "give false, synthetic, true, a hub id such as owner/name, or the path of a file or "
            "folder"
        )
    return False


def check_source(source: bool | str | None) -> None:
    """Raise BirdnbError for weights that are neither a hub id nor a path where something is."""
    if isinstance(source, str) and source != "synthetic" and is_local(source):
        _must_exist(user_path(source))


def read_weights(source: str | Path) -> dict[str, Tensor]:
    """Read a state dictionary from a file, or from the weights file of a folder.

    Safetensors, or what ``torch.load(weights_only=True)`` accepts. Raises BirdnbError when it is
    missing or damaged.
    """
    path = _weights_file(user_path(source))
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    # torch and safetensors raise a dozen kinds here: all of them mean that the file is no good
    except Exception as error:
        raise BirdnbError(
            f"{path} cannot be read as model weights ({first_line(error)}): fetch or copy it again"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise BirdnbError(
            f"{path} holds no table of tensors: give a safetensors file or a saved state_dict"
        )
    return state


def weights_of(model: nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Copy a model's state to the CPU, its floating-point tensors as ``dtype`` if there is one."""
    return {
        name: value.detach()
        .to("cpu", dtype if value.is_floating_point() else None)
        .clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }


def save_weights(path: str | Path, weights: dict[str, Tensor]) -> Path:
    """Write tensors atomically as safetensors, which ``read_weights`` reads; return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(weights))  # save_file hides what the disk said
    return Path(path)


def load_all_but(
    model: nn.Module, state: dict[str, Tensor], new: str | tuple[str, ...], source: str | Path
) -> None:
    """Copy ``state`` into ``model``, leaving out only names that start with ``new`` (the head).

    Raises BirdnbError naming the tensors that are missing, not expected, or of another shape.
    """
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(new)}
    state = {name: value for name, value in state.items() if not name.startswith(new)}
    wrong = [
        *(f"{name} is missing" for name in own if name not in state),
        *(f"{name} is not part of the model" for name in state if name not in own),
        *(
            f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ),
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BirdnbError(
            f"{source} does not fit this model: {'; '.join(wrong[:3])}{more}; is it for another "
            f"model or size?"
        )
    model.load_state_dict(state, strict=False)


def unavailable(source: str, error: Exception) -> BirdnbError:
    """Return the error for hub weights that could not be had: what was tried and what to do."""
    return BirdnbError(
        f"the pretrained weights {source!r} could not be loaded ({first_line(error)}): {REMEDY}"
    )


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    _must_exist(path)
    for name in NAMES_IN_A_FOLDER:
        if (path / name).is_file():
            return path / name
    raise BirdnbError(f"{path} holds none of {', '.join(NAMES_IN_A_FOLDER)}: {REMEDY}")


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise BirdnbError(f"no weights at {path}: {REMEDY}")


def weights_key(model: ModelSettings) -> str | None:
    """Return a key of the bytes of local or shipped weights; None when there are none."""
    if model.pretrained == "synthetic":
        files = [SHIPPED / FILES[model.name]] if model.name in FILES else []
    elif isinstance(model.pretrained, str) and is_local(model.pretrained):
        path = user_path(model.pretrained)
        inside = (p for p in path.glob("*") if p.suffix in (".safetensors", ".bin", ".json"))
        files = [path] if path.is_file() else sorted(inside)
    else:
        return None
    return key_of([sha256_of(path) for path in files if path.is_file()])
