"""Writes layernorm.onnx and its sample files.

Run from the repository root (packages in models/requirements.txt):

    python models/make_layernorm.py

Seed 256, numpy RandomState. The weights are random, not trained.
"""

import numpy as np
from onnx import helper

from model_io import init, inputs_like_normal, on_grid, run, save, value, write_json

BLOCKS = 8
WIDTH = 256
GRID = 256


def main():
    rng = np.random.RandomState(256)
    nodes, tensors = [], []
    src = "x"
    for i in range(BLOCKS):
        p = f"block{i}"
        tensors += [
            init(f"{p}.weight", on_grid(rng.normal(0, 1 / 16, (WIDTH, WIDTH)), GRID)),
            init(f"{p}.bias", on_grid(rng.normal(0, 1 / 16, WIDTH), GRID)),
            init(f"{p}.gamma", on_grid(rng.normal(1, 1 / 8, WIDTH), GRID)),
            init(f"{p}.beta", on_grid(rng.normal(0, 1 / 16, WIDTH), GRID)),
        ]
        out = "y" if i == BLOCKS - 1 else f"{p}.out"
        nodes += [
            helper.make_node("MatMul", [src, f"{p}.weight"], [f"{p}.mm"], f"{p}/matmul"),
            helper.make_node("Add", [f"{p}.mm", f"{p}.bias"], [f"{p}.lin"], f"{p}/add"),
            helper.make_node(
                "LayerNormalization",
                [f"{p}.lin", f"{p}.gamma", f"{p}.beta"],
                [out],
                f"{p}/norm",
                axis=-1,
                epsilon=1e-5,
            ),
        ]
        src = out
    graph = helper.make_graph(
        nodes, "layernorm", [value("x", ["N", WIDTH])], [value("y", ["N", WIDTH])], tensors
    )
    save("layernorm.onnx", graph, opset=17, ir=8)

    x = inputs_like_normal(rng, (4, WIDTH))
    write_json("samples-layernorm.json", inputs=x, outputs=run("layernorm.onnx", x))
    write_json("calibration-layernorm.json", inputs=inputs_like_normal(rng, (32, WIDTH)))


if __name__ == "__main__":
    main()
