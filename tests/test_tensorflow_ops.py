import numpy as np
import pytest

from linnaeus.errors import ModelError

pytestmark = pytest.mark.runtimes

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
convert = pytest.importorskip("linnaeus.targets.tensorflow_ops.convert", exc_type=ImportError)
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

DRAW = np.random.default_rng(0)


def constant(*shape):
    return DRAW.normal(size=shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def write_onnx(path, kinds, shape):
    """Write a graph of [kind, constants, attributes], one after the other, each taking what the one before gives."""
    nodes, fixed, last = [helper.make_node("Cast", ["image"], ["x0"], to=TensorProto.FLOAT)], [], "x0"
    for number, (kind, constants, attributes) in enumerate(kinds, 1):
        names = ["" if one is None else f"c{number}.{i}" for i, one in enumerate(constants)]
        fixed += [
            numpy_helper.from_array(one, name) for one, name in zip(constants, names, strict=True) if one is not None
        ]
        # "first" puts the constants before what flows.
        attributes = dict(attributes)
        first = attributes.pop("first", False)
        inputs = [*names, last] if first else [last, *names]
        outputs = [f"x{number}", *(f"x{number}.{i}" for i in range(attributes.pop("more", 0)))]
        nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        last = outputs[0]
    nodes.append(helper.make_node("Identity", [last], ["answer"]))
    entry = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *shape])
    exit_ = helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "test", [entry], [exit_], fixed)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def both_answers(path, shape, N=3):
    image = np.random.default_rng(1).integers(0, 9, (N, *shape), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(["answer"], {"image": image})
    return convert.tensorflow_function(path, ["answer"])(image)["answer"].numpy(), wanted


PICTURE = (4, 9, 9)
CASES = {
    "convolution, padded evenly": [("Conv", [constant(5, 4, 3, 3), constant(5)], {"pads": [1, 1, 1, 1]})],
    "convolution with stride, padded as PyTorch does": [
        ("Conv", [constant(5, 4, 3, 3)], {"pads": [1, 1, 1, 1], "strides": [2, 2]})
    ],
    "convolution, padded at the end": [("Conv", [constant(5, 4, 3, 3)], {"pads": [0, 0, 1, 1], "strides": [2, 2]})],
    "convolution with dilation": [("Conv", [constant(5, 4, 3, 3)], {"pads": [2, 2, 2, 2], "dilations": [2, 2]})],
    "convolution in groups": [("Conv", [constant(6, 2, 3, 3), constant(6)], {"group": 2})],
    "convolution by channel": [("Conv", [constant(8, 1, 3, 3), constant(8)], {"group": 4, "pads": [1, 1, 1, 1]})],
    "convolution by channel with unequal strides": [("Conv", [constant(4, 1, 3, 3)], {"group": 4, "strides": [2, 1]})],
    "maximum, padded below zero": [
        ("Sub", [np.float32(20)], {}),
        ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ],
    "maximum, rounded up": [
        ("Sub", [np.float32(20)], {}),
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ],
    "maximum, far over the border": [
        ("Sub", [np.float32(20)], {}),
        ("MaxPool", [], {"kernel_shape": [4, 4], "strides": [3, 3], "ceil_mode": 1}),
    ],
    "average, border not counted": [
        ("AveragePool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})
    ],
    "average, border counted": [
        ("AveragePool", [], {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1], "count_include_pad": 1})
    ],
    "average, rounded up": [("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1})],
    "average of all": [("GlobalAveragePool", [], {}), ("Flatten", [], {})],
    "maximum of all": [("GlobalMaxPool", [], {})],
    "mean, axes gone": [("ReduceMean", [ints(2, 3)], {"keepdims": 0})],
    "sum along channels": [("ReduceSum", [ints(1)], {"keepdims": 1})],
    "minimum along the last axis, gone": [("ReduceMin", [ints(-1)], {"keepdims": 0})],
    "length": [("ReduceL2", [ints(1)], {"keepdims": 1})],
    "norm over features": [
        ("Transpose", [], {"perm": [0, 2, 3, 1]}),
        ("LayerNormalization", [constant(4), constant(4)], {"axis": -1, "epsilon": 1e-6}),
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
        ("Conv", [constant(5, 4, 1, 1)], {}),
    ],
    "norm of a picture": [("InstanceNormalization", [constant(4), constant(4)], {"epsilon": 1e-3})],
    "norm of a batch": [("BatchNormalization", [constant(4), constant(4), constant(4), abs(constant(4))], {})],
    "GELU": [("Sub", [np.float32(4)], {}), ("Gelu", [], {})],
    "GELU with tanh": [("Sub", [np.float32(4)], {}), ("Gelu", [], {"approximate": "tanh"})],
    "hard swish": [("Sub", [np.float32(4)], {}), ("HardSwish", [], {})],
    "hard sigmoid": [("Sub", [np.float32(4)], {}), ("HardSigmoid", [], {"alpha": 1 / 6, "beta": 0.5})],
    "hard sigmoid of another slope": [("Sub", [np.float32(4)], {}), ("HardSigmoid", [], {"alpha": 0.3, "beta": 0.4})],
    "ELU": [("Sub", [np.float32(4)], {}), ("Elu", [], {"alpha": 0.7})],
    "leaky ReLU": [("Sub", [np.float32(4)], {}), ("LeakyRelu", [], {"alpha": 0.2})],
    "PReLU by channel": [("Sub", [np.float32(4)], {}), ("PRelu", [constant(4, 1, 1)], {})],
    "clipped": [("Clip", [np.float32(1.5), np.float32(4.5)], {})],
    "clipped above only": [("Clip", [None, np.float32(4.5)], {})],
    "by channel": [("Mul", [constant(1, 4, 1, 1)], {}), ("Add", [constant(4, 1, 1)], {})],
    "by row": [("Conv", [constant(5, 4, 1, 1)], {}), ("Add", [constant(9, 1)], {}), ("Mul", [constant(9)], {})],
    "channels cut": [("Conv", [constant(5, 4, 1, 1)], {}), ("Slice", [ints(1), ints(2**62), ints(1), ints(2)], {})],
    "turned round": [("Slice", [ints(-1), ints(-(2**62)), ints(3), ints(-1)], {})],
    "channels divided": [("Conv", [constant(5, 4, 1, 1)], {}), ("Split", [ints(2, 3)], {"axis": 1, "more": 1})],
    "padded with a mirror": [("Pad", [ints(0, 0, 2, 1, 0, 0, 1, 2)], {"mode": "reflect"})],
    "padded with a number": [
        ("Conv", [constant(5, 4, 1, 1)], {}),
        ("Pad", [ints(0, 1, 0, 0, 0, 0, 1, 0), np.float32(3)], {}),
    ],
    "padded with its edge": [("Pad", [ints(0, 0, 1, 1, 0, 0, 1, 1)], {"mode": "edge"})],
    "one place": [("Gather", [np.array(-1)], {"axis": 2})],
    "some channels": [("Conv", [constant(5, 4, 1, 1)], {}), ("Gather", [ints(3, 0, -1)], {"axis": 1})],
    "reshaped after a convolution": [("Conv", [constant(5, 4, 1, 1)], {}), ("Reshape", [ints(0, -1, 9)], {})],
    "axes in another order": [("Conv", [constant(5, 4, 1, 1)], {}), ("Transpose", [], {"perm": [2, 0, 3, 1]})],
    "axes come and go": [("Unsqueeze", [ints(1, -1)], {}), ("Squeeze", [ints(1, 5)], {})],
    "largest three": [("TopK", [ints(3)], {"axis": -1, "more": 1})],
    "smallest three": [("TopK", [ints(3)], {"axis": -1, "largest": 0, "more": 1})],
    "as large as asked": [("Slice", [ints(0), ints(1), ints(1)], {}), ("Expand", [ints(1, 4, 1, 9)], {})],
    "repeated": [("Tile", [ints(1, 2, 1, 3)], {})],
    "blocks to channels": [("Slice", [ints(0, 0), ints(8, 8), ints(2, 3)], {}), ("SpaceToDepth", [], {"blocksize": 2})],
    "product with a turned matrix": [
        ("Flatten", [], {}),
        ("Gemm", [constant(7, 324), constant(7)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ],
    "product of many": [("MatMul", [constant(9, 5)], {})],
    "product from the left": [("MatMul", [constant(5, 9)], {"first": True})],
    "sum of products": [("Einsum", [constant(9, 5)], {"equation": "ncij,jk->nkci"})],
    "softmax along channels": [("Conv", [constant(5, 4, 1, 1)], {}), ("Softmax", [], {"axis": 1})],
    "logarithm of softmax": [("LogSoftmax", [], {"axis": -1})],
    "greatest place": [("ArgMax", [], {"axis": 1}), ("Cast", [], {"to": TensorProto.FLOAT})],
    "chosen by comparison": [("Greater", [np.float32(4)], {}), ("Where", [np.float32(1), np.float32(2)], {})],
}


@pytest.mark.parametrize("case", CASES)
def test_an_operation_gives_what_onnx_runtime_gives(case, tmp_path):
    path = write_onnx(tmp_path / "one.onnx", CASES[case], PICTURE)
    found, wanted = both_answers(path, PICTURE)
    assert found.shape == wanted.shape
    assert abs(found - wanted).max() < 1e-4 * max(1, abs(wanted).max())


def test_a_convolution_of_rows_gives_what_onnx_runtime_gives(tmp_path):
    kinds = [("Conv", [constant(6, 4, 3), constant(6)], {"pads": [1, 1]})]
    found, wanted = both_answers(write_onnx(tmp_path / "rows.onnx", kinds, (4, 9)), (4, 9))
    assert abs(found - wanted).max() < 1e-4


def test_an_operation_that_is_not_known_is_named(tmp_path):
    path = write_onnx(tmp_path / "odd.onnx", [("CumSum", [np.array(1)], {})], PICTURE)
    with pytest.raises(ModelError, match="TensorFlow's operations") as caught:
        convert.tensorflow_function(path, ["answer"])
    assert "CumSum" in caught.value.got


def test_what_cannot_be_expressed_is_named(tmp_path):
    path = write_onnx(tmp_path / "odd.onnx", [("Pad", [ints(0, 0, 3, 0, 0, 0, 0, 0)], {"mode": "edge"})], PICTURE)
    with pytest.raises(ModelError) as caught:
        convert.tensorflow_function(path, ["answer"]).get_concrete_function()
    assert "Pad" in caught.value.got
