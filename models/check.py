"""Checks the models and sample files in this folder against each other.

Run from the repository root (packages in models/requirements.txt):

    python models/check.py

For each model: onnx.checker, the recorded outputs against onnxruntime and against
onnx's own reference evaluator, and the calibration inputs. For digits also the
held-out accuracy, from digits-test.json. Exits non-zero on a mismatch.
"""

import os

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from model_io import HERE, path, read_json, run

CASES = [
    ("digits.onnx", "digits-samples.json", "logits", "digits-calibration.json"),
    ("matmul128.onnx", "samples-matmul128.json", "outputs", "calibration-matmul128.json"),
    ("layernorm.onnx", "samples-layernorm.json", "outputs", "calibration-layernorm.json"),
    ("residual.onnx", "samples-residual.json", "outputs", "calibration-residual.json"),
]
TOLERANCE = 1e-4
LIMIT = 8 * 1000 * 1000


def main():
    for file, samples, key, calibration in CASES:
        model = onnx.load(path(file))
        onnx.checker.check_model(model, full_check=True)
        s = read_json(samples)
        x = np.array(s["inputs"], np.float32)
        want = np.array(s[key], np.float32)
        name = model.graph.input[0].name
        for who, got in (
            ("onnxruntime", run(file, x)),
            ("reference", ReferenceEvaluator(model).run(None, {name: x})[0]),
        ):
            assert got.shape == want.shape, (file, who, got.shape, want.shape)
            worst = float(abs(got - want).max())
            print(f"{file}: {who} differs from {samples} by at most {worst:.2e}")
            assert worst <= TOLERANCE, (file, who, worst)
        c = np.array(read_json(calibration)["inputs"], np.float32)
        assert np.isfinite(run(file, c)).all()
        print(f"{file}: {calibration} has shape {c.shape}, values {c.min():g} to {c.max():g}")

        floats = {t.name for t in model.graph.initializer}
        outs = [o for n in model.graph.node for o in n.output]
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(o)
            for o in outs
            if o != model.graph.output[0].name
        )
        ev = ReferenceEvaluator(model)
        vals = dict(zip(ev.output_names, ev.run(None, {name: c})))
        assert not floats & set(vals)
        for o in outs:
            print(f"    {o:12} {vals[o].min():10.4f} to {vals[o].max():9.4f}")

    s, t = read_json("digits-samples.json"), read_json("digits-test.json")
    pixels = np.array(t["pixels"], np.float32).reshape(-1, 1, 8, 8) / t["scale"]
    assert (pixels[:32] == np.array(s["inputs"], np.float32)).all()
    assert t["labels"][:32] == s["labels"]
    hit = run("digits.onnx", pixels).argmax(1) == np.array(t["labels"])
    print(f"digits.onnx: held-out accuracy {hit.sum()} of {len(hit)} = {hit.mean():.4f}")
    assert hit.mean() >= 0.97

    total = sum(
        os.path.getsize(path(f)) for f in os.listdir(HERE) if os.path.isfile(path(f))
    )
    print(f"all files: {total} bytes")
    assert total < LIMIT


if __name__ == "__main__":
    main()
