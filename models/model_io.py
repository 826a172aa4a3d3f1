"""Helpers shared by the make_*.py scripts and check.py."""

import json
import os

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))


def path(name):
    return os.path.join(HERE, name)


def on_grid(a, steps):
    """Rounds to multiples of 1/steps (steps a power of two: exact in float32)."""
    out = np.rint(np.asarray(a, np.float64) * steps) / steps
    return (out + 0.0).astype(np.float32)  # + 0.0 turns -0.0 into 0.0


def inputs_like_normal(rng, shape):
    """Standard normal, clipped to [-4, 4], on a grid of 1/64."""
    return on_grid(np.clip(rng.normal(0.0, 1.0, shape), -4.0, 4.0), 64)


def init(name, a):
    return numpy_helper.from_array(np.asarray(a, order="C"), name)


def value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def save(file, graph, opset, ir):
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=ir,
        producer_name="circlet-models",
    )
    onnx.checker.check_model(model, full_check=True)
    with open(path(file), "wb") as f:
        f.write(model.SerializeToString(deterministic=True))
    floats = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT]
    count = sum(int(np.prod(t.dims)) for t in floats)
    print(f"{file}: {count} float parameters, {os.path.getsize(path(file))} bytes")


def session(file):
    opts = ort.SessionOptions()
    # Run the graph as written: no fused operators.
    opts.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    opts.intra_op_num_threads = 1
    return ort.InferenceSession(path(file), opts, providers=["CPUExecutionProvider"])


def run(file, x):
    s = session(file)
    return s.run(None, {s.get_inputs()[0].name: x})[0]


def _plain(a):
    """Nested lists with the shortest decimals that give back each float32."""
    if isinstance(a, np.ndarray) and a.ndim:
        return [_plain(r) for r in a]
    if isinstance(a, np.integer):
        return int(a)
    v = float(a)
    return int(v) if v.is_integer() else float(str(np.float32(v)))


def write_json(file, **fields):
    with open(path(file), "w") as f:
        f.write("{\n")
        f.write(
            ",\n".join(
                json.dumps(k) + ": " + json.dumps(_plain(np.asarray(v)), separators=(",", ":"))
                for k, v in fields.items()
            )
        )
        f.write("\n}\n")


def read_json(file):
    with open(path(file)) as f:
        return json.load(f)
