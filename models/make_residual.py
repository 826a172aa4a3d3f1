"""Writes residual.onnx and its sample files.

Run from the repository root (packages in models/requirements.txt):

    python models/make_residual.py

Seed 512, numpy RandomState. The weights are random, not trained.

    x0  = stem(x)                                     256 -> 512
    x1  = x0 + down1(Gelu(up1(x0)))                   512 -> 256 -> 512, Gelu operator
    p   = Reshape(Transpose(Reshape(x1)))             [N,512] -> [N,8,64] -> [N,64,8] -> [N,512]
    x2  = x1 + down2(gelu(up2(p)))                    512 -> 256 -> 512, gelu spelled with Erf
    h   = gate3(x2);  s = h * Sigmoid(h)              512 -> 256, SiLU
    x3  = x2 + down3(s * Gelu(up3(x2)))               product of two activations, 256 -> 512
    y   = head(LayerNormalization(x3))                512 -> 16
"""

import numpy as np
from onnx import helper

from model_io import init, inputs_like_normal, on_grid, run, save, value, write_json

GRID = 512


def main():
    rng = np.random.RandomState(512)
    nodes, tensors = [], []

    def op(kind, inputs, out, **attrs):
        nodes.append(helper.make_node(kind, inputs, [out], f"{out}/{kind}", **attrs))
        return out

    def gemm(src, name, n, m, out, gain=1.0, trans=True):
        w = on_grid(rng.normal(0, gain / np.sqrt(n), (m, n) if trans else (n, m)), GRID)
        tensors.append(init(f"{name}.weight", w))
        tensors.append(init(f"{name}.bias", on_grid(rng.normal(0, 1 / 16, m), GRID)))
        attrs = {"transB": 1} if trans else {}
        return op("Gemm", [src, f"{name}.weight", f"{name}.bias"], out, **attrs)

    def scalar(name, v):
        tensors.append(init(name, np.array(v, np.float32)))
        return name

    def shape(name, v):
        tensors.append(init(name, np.array(v, np.int64)))
        return name

    x0 = gemm("x", "stem", 256, 512, "x0")

    h = gemm(x0, "up1", 512, 256, "h1")
    h = op("Gelu", [h], "g1")
    h = gemm(h, "down1", 256, 512, "d1")
    x1 = op("Add", [x0, h], "x1")

    p = op("Reshape", [x1, shape("split", [0, 8, 64])], "p3")
    p = op("Transpose", [p], "pt", perm=[0, 2, 1])
    p = op("Reshape", [p, shape("join", [-1, 512])], "p")

    h = gemm(p, "up2", 512, 256, "h2", trans=False)
    e = op("Div", [h, scalar("sqrt2", np.sqrt(2.0))], "e2.div")
    e = op("Erf", [e], "e2.erf")
    e = op("Add", [e, scalar("one", 1.0)], "e2.add")
    h = op("Mul", [h, e], "e2.mul")
    h = op("Mul", [h, scalar("half", 0.5)], "g2")
    h = gemm(h, "down2", 256, 512, "d2", trans=False)
    x2 = op("Add", [x1, h], "x2")

    h = gemm(x2, "gate3", 512, 256, "h3")
    s = op("Mul", [h, op("Sigmoid", [h], "s3")], "a3")
    b = op("Gelu", [gemm(x2, "up3", 512, 256, "u3")], "b3")
    h = op("Mul", [s, b], "m3")
    h = gemm(h, "down3", 256, 512, "d3")
    x3 = op("Add", [x2, h], "x3")

    tensors.append(init("norm.gamma", on_grid(rng.normal(1, 1 / 8, 512), GRID)))
    tensors.append(init("norm.beta", on_grid(rng.normal(0, 1 / 16, 512), GRID)))
    n = op("LayerNormalization", [x3, "norm.gamma", "norm.beta"], "n", axis=-1, epsilon=1e-5)
    gemm(n, "head", 512, 16, "y")

    graph = helper.make_graph(
        nodes, "residual", [value("x", ["N", 256])], [value("y", ["N", 16])], tensors
    )
    save("residual.onnx", graph, opset=20, ir=9)

    x = inputs_like_normal(rng, (4, 256))
    write_json("samples-residual.json", inputs=x, outputs=run("residual.onnx", x))
    write_json("calibration-residual.json", inputs=inputs_like_normal(rng, (32, 256)))


if __name__ == "__main__":
    main()
