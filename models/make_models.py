#!/usr/bin/env python3
"""Makes the tiny ONNX models of this folder. Deterministic: the same packages give the same bytes.

    python3 -m venv /tmp/onnx && /tmp/onnx/bin/pip install onnx==1.23.2 numpy==2.4.6 scikit-learn==1.9.1
    /tmp/onnx/bin/python models/make_models.py
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

HERE = Path(__file__).resolve().parent
OPSET = 13
IR_VERSION = 8
FP32, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64


def tensor(name, dtype, columns):
    """A tensor of any number of rows."""
    return helper.make_tensor_value_info(name, dtype, ["batch"] if columns is None else ["batch", columns])


def write(name, doc, nodes, inputs, outputs, constants):
    weights = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, weights)
    model = helper.make_model(graph, producer_name="millstream", opset_imports=[helper.make_opsetid("", OPSET)], doc_string=doc)
    model.ir_version = IR_VERSION
    checker.check_model(model, full_check=True)
    path = HERE / name / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    save(model, path)
    print(f"{path.relative_to(HERE)}: {path.stat().st_size} bytes")


def arithmetic(name, operator, operand):
    write(
        name,
        f"OUTPUT = {operator}(INPUT, {operand})",
        [helper.make_node(operator, ["INPUT", "operand"], ["OUTPUT"])],
        [tensor("INPUT", FP32, 4)],
        [tensor("OUTPUT", FP32, 4)],
        {"operand": np.array([operand], dtype=np.float32)},
    )


def sumdiff():
    write(
        "sumdiff",
        "OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1",
        [helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]), helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"])],
        [tensor("INPUT0", INT32, 16), tensor("INPUT1", INT32, 16)],
        [tensor("OUTPUT0", INT32, 16), tensor("OUTPUT1", INT32, 16)],
        {},
    )


def train_iris():
    """Softmax regression on Fisher's iris, by plain gradient descent from zero: no random number is involved."""
    from sklearn.datasets import load_iris

    features, labels = load_iris(return_X_y=True)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    x, y = (features - mean) / deviation, np.eye(3)[labels]
    weights, bias = np.zeros((4, 3)), np.zeros(3)
    for _ in range(5000):
        logits = x @ weights + bias
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        weights -= 0.5 * (x.T @ (p - y) / len(x) + 1e-3 * weights)
        bias -= 0.5 * (p - y).mean(axis=0)
    # The scaling of the features goes into the weights: the model takes centimetres.
    scaled = weights / deviation[:, None]
    offset = bias - mean @ scaled
    accuracy = (np.argmax(features @ scaled + offset, axis=1) == labels).mean()
    print(f"iris: {accuracy:.1%} of the training set is classified right")
    assert accuracy >= 0.97
    # Rounded, so that a last-bit difference of the linear algebra library leaves the bytes alone.
    return scaled.round(4).astype(np.float32), offset.round(4).astype(np.float32)


def iris():
    weights, bias = train_iris()
    write(
        "iris",
        "softmax regression on Fisher's iris: 0 setosa, 1 versicolor, 2 virginica",
        [
            helper.make_node("MatMul", ["INPUT", "weights"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["SCORES"], axis=1),
            helper.make_node("ArgMax", ["logits"], ["CLASS"], axis=1, keepdims=0),
        ],
        [tensor("INPUT", FP32, 4)],
        [tensor("CLASS", INT64, None), tensor("SCORES", FP32, 3)],
        {"weights": weights, "bias": bias},
    )


if __name__ == "__main__":
    arithmetic("add10", "Add", 10)
    arithmetic("add20", "Add", 20)
    arithmetic("mul10", "Mul", 10)
    sumdiff()
    iris()
