"""Writes matmul128.onnx and its sample files.

Run from the repository root (packages in models/requirements.txt):

    python models/make_matmul.py

Seed 128, numpy RandomState.
"""

import numpy as np
from onnx import helper

from model_io import init, inputs_like_normal, run, save, value, write_json


def main():
    rng = np.random.RandomState(128)
    w = (rng.randint(-128, 129, (128, 128)) / 128).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")],
        "matmul128",
        [value("x", [128, 128])],
        [value("y", [128, 128])],
        [init("w", w)],
    )
    save("matmul128.onnx", graph, opset=17, ir=8)

    x = inputs_like_normal(rng, (128, 128))
    write_json("samples-matmul128.json", inputs=x, outputs=run("matmul128.onnx", x))
    write_json("calibration-matmul128.json", inputs=inputs_like_normal(rng, (128, 128)))


if __name__ == "__main__":
    main()
