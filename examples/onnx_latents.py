"""Latents from an ONNX Runtime encoder's moments: no framework, and the same bits however the data set is batched.

    pip install . onnx onnxruntime
    python examples/onnx_latents.py

`onnx` is only for making the little encoder here; a real one is a file. Each image's noise depends on the key and on
its own id, which goes in as `index`: its latents can be made again alone, by another worker, in another order.
"""

import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import agauss as ag

CHANNELS = 4  # of the latents; the encoder gives twice as many, mean and log-variance
KEY = 7


def main():
    session = onnxruntime.InferenceSession(encoder().SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    images = rng.random((10, 3, 32, 32), dtype=np.float32)
    ids = rng.choice(10**6, size=10, replace=False)  # where each image stands in its data set

    whole, moments = latents(session, images, ids)
    each = [latents(session, images[n : n + 1], ids[n : n + 1]) for n in range(10)]
    one_by_one = np.concatenate([z for z, _ in each])
    backwards, _ = latents(session, images[::-1], ids[::-1])
    by_place = np.concatenate([ag.DiagonalGaussianDistribution(m).sample(rng=KEY) for _, m in each])

    same = same_bits(whole, one_by_one)
    print(f"moments {moments.shape} to latents {whole.shape}, {whole.dtype}")
    print(f"a batch of ten and ten batches of one, same bits: {same}")
    print(f"the ten in another order, same bits: {same_bits(whole, backwards[::-1])}")
    print(f"batches of one without their ids, same bits: {same_bits(whole, by_place)}: each has the noise of id 0")
    return 0 if same and same_bits(whole, backwards[::-1]) and not same_bits(whole, by_place) else 1


def latents(session, images, ids):
    """A sample of each image's latents, shape (B, C, H, W), and the moments, (B, 2C, H, W)."""
    (moments,) = session.run(["moments"], {"images": images})
    return ag.DiagonalGaussianDistribution(moments).sample(rng=KEY, index=ids), moments


def same_bits(a, b):
    return a.tobytes() == b.tobytes()


def encoder():
    """Images (B, 3, H, W) to moments (B, 2C, H/4, W/4): two strided convolutions with random weights."""
    rng = np.random.default_rng(1)
    shapes = {"w0": (16, 3, 4, 4), "w1": (2 * CHANNELS, 16, 2, 2)}
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["images", "w0"], ["hidden"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["hidden"], ["features"]),
        helper.make_node("Conv", ["features", "w1"], ["moments"], strides=[2, 2]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", n, None, None])]
        for name, n in (("images", 3), ("moments", 2 * CHANNELS))
    ]
    graph = helper.make_graph(nodes, "encoder", *ends, weights)
    # Older versions than the newest, so that a runtime that is a little behind reads it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    sys.exit(main())
