"""Run coord_att once with ONNX Runtime on a recorded input and print how far it is from PyTorch."""
# inputs:
#   x: float32[batch, 16, 6, 4], recorded at (2, 16, 6, 4)
#   batch 1:2:4  (min:opt:max; not checked outside of it)
import json, pathlib
import numpy as np
import onnxruntime
from safetensors.numpy import load_file

here = pathlib.Path(__file__).parent
case = json.loads((here / "bundle.json").read_text())["cases"][0]
tensors = load_file(here / "reference.safetensors")
session = onnxruntime.InferenceSession(here / "model.onnx", providers=["CPUExecutionProvider"])
feeds = {i.name: tensors[f"{case['key']}/input/{i.name}"] for i in session.get_inputs()}
for output, value in zip(session.get_outputs(), session.run(None, feeds)):
    expected = tensors[f"{case['key']}/float64/{output.name}"]
    print(output.name, value.shape, "largest difference from PyTorch:", np.abs(value - expected).max())
