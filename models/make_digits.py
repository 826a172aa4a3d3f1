"""Trains the digits classifier and writes digits.onnx and its sample files.

Run from the repository root (packages in models/requirements.txt):

    python models/make_digits.py

Split: numpy RandomState(20240) permutes the 1797 images; the first 1437 train,
the last 360 are held out. Plain numpy, Adam with decoupled weight decay, a fixed
number of epochs; the held-out images are not used to choose anything.
"""

import numpy as np
from onnx import helper
from sklearn.datasets import load_digits

from model_io import init, on_grid, run, save, value, write_json

SPLIT_SEED = 20240
TRAIN_SEED = 7
TRAIN = 1437
SIZES = [64, 300, 256, 10]
EPOCHS = 60
BATCH = 64
RATE = 1e-3
DECAY = 0.05
GRID = 1024  # weights and biases are multiples of 1/1024


def shifted(img, rng):
    """Each image moved by up to one pixel sideways and up or down, half the time."""
    out = img.copy()
    for i in np.flatnonzero(rng.rand(len(img)) < 0.5):
        dy, dx = rng.randint(-1, 2, 2)
        p = np.pad(img[i], 1)
        out[i] = p[1 + dy : 9 + dy, 1 + dx : 9 + dx]
    return out


def forward(params, x):
    acts = [x]
    for i, (w, b) in enumerate(params):
        x = x @ w.T + b
        if i + 1 < len(params):
            x = np.maximum(x, 0)
        acts.append(x)
    return acts


def train(x, y):
    rng = np.random.RandomState(TRAIN_SEED)
    params = [
        [rng.normal(0, np.sqrt(2 / n), (m, n)), np.zeros(m)] for n, m in zip(SIZES, SIZES[1:])
    ]
    mom = [[np.zeros_like(p) for p in layer] for layer in params]
    var = [[np.zeros_like(p) for p in layer] for layer in params]
    steps = EPOCHS * -(-len(x) // BATCH)
    t = 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        xs = shifted(x, rng).reshape(len(x), 64)
        for at in range(0, len(x), BATCH):
            idx = order[at : at + BATCH]
            acts = forward(params, xs[idx])
            z = np.exp(acts[-1] - acts[-1].max(1, keepdims=True))
            g = z / z.sum(1, keepdims=True)
            g[np.arange(len(idx)), y[idx]] -= 1
            g /= len(idx)
            t += 1
            rate = RATE * 0.5 * (1 + np.cos(np.pi * t / steps))
            for i in reversed(range(len(params))):
                grads = [g.T @ acts[i], g.sum(0)]
                if i:
                    g = (g @ params[i][0]) * (acts[i] > 0)
                for j in range(2):
                    mom[i][j] = 0.9 * mom[i][j] + 0.1 * grads[j]
                    var[i][j] = 0.999 * var[i][j] + 0.001 * grads[j] ** 2
                    step = mom[i][j] / (1 - 0.9**t)
                    step = step / (np.sqrt(var[i][j] / (1 - 0.999**t)) + 1e-8)
                    if j == 0:
                        step = step + DECAY * params[i][j]
                    params[i][j] = params[i][j] - rate * step
    return params


def main():
    data = load_digits()
    pixels = data.images.astype(np.int64)  # 0..16
    order = np.random.RandomState(SPLIT_SEED).permutation(len(pixels))
    tr, te = order[:TRAIN], order[TRAIN:]
    x = pixels / 16.0

    params = [[on_grid(p, GRID) for p in layer] for layer in train(x[tr], data.target[tr])]

    nodes = [helper.make_node("Flatten", ["pixels"], ["flat"], "flatten", axis=1)]
    tensors = []
    src = "flat"
    for i, (w, b) in enumerate(params, 1):
        tensors += [init(f"fc{i}.weight", w), init(f"fc{i}.bias", b)]
        out = "logits" if i == 3 else f"fc{i}.out"
        nodes.append(
            helper.make_node("Gemm", [src, f"fc{i}.weight", f"fc{i}.bias"], [out], f"fc{i}", transB=1)
        )
        src = out
        if i < 3:
            nodes.append(helper.make_node("Relu", [src], [f"relu{i}.out"], f"relu{i}"))
            src = f"relu{i}.out"
    graph = helper.make_graph(
        nodes, "digits", [value("pixels", ["N", 1, 8, 8])], [value("logits", ["N", 10])], tensors
    )
    save("digits.onnx", graph, opset=17, ir=8)

    nchw = x.reshape(-1, 1, 8, 8).astype(np.float32)
    for name, idx in ("train", tr), ("held out", te):
        hit = run("digits.onnx", nchw[idx]).argmax(1) == data.target[idx]
        print(f"{name}: {hit.sum()} of {len(idx)} = {hit.mean():.4f}")
    acts = forward(params, nchw[tr].reshape(-1, 64))
    for i, (w, b) in enumerate(params):
        print(f"fc{i + 1}: max |w| {abs(w).max():.4f} |b| {abs(b).max():.4f} out {abs(acts[i + 1]).max():.2f}")

    write_json(
        "digits-samples.json",
        inputs=nchw[te[:32]],
        labels=data.target[te[:32]],
        logits=run("digits.onnx", nchw[te[:32]]),
    )
    write_json("digits-calibration.json", inputs=nchw[tr[:200]])
    write_json(
        "digits-test.json", scale=16, pixels=pixels[te].reshape(-1, 64), labels=data.target[te]
    )


if __name__ == "__main__":
    main()
