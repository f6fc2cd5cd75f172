"""A small encoder as an ONNX file: the mean of each quarter of a window, and logits of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

RATE, SAMPLES = 1000, 2000  # windows of 2 s


def write_encoder(
    path: Path,
    shape: Sequence[str | int | None] = ("batch", SAMPLES),
    yaml: str = f"sample_rate: {RATE}\n",
    about: Mapping[str, str] | None = None,
    loudness: bool = False,
) -> Path:
    """Write the model, what stands inside it and beside it, and return its path.

    The logits are the embedding times 1 to 4. ``loudness``: of the size of samples.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    numbers = [
        numpy_helper.from_array(np.array([-1, 4, SAMPLES // 4]), "quarters"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.arange(1, 5, dtype=np.float32), "factors"),
    ]
    nodes = [
        helper.make_node("Abs" if loudness else "Identity", ["sound"], ["heard"]),
        helper.make_node("Reshape", ["heard", "quarters"], ["parted"]),
        helper.make_node("ReduceMean", ["parted", "last"], ["embedding"], keepdims=0),
        helper.make_node("Mul", ["embedding", "factors"], ["logits"]),
    ]
    ends = (
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(out, TensorProto.FLOAT, ("batch", 4))
            for out in ("logits", "embedding")
        ],
    )
    graph = helper.make_graph(nodes, "small", *ends, initializer=numbers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, dict(about or {}))
    onnx.save(made, path)
    if yaml:
        path.with_suffix(".yaml").write_text(yaml)
    return path
