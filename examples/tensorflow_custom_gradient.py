"""agauss in TensorFlow: tf.custom_gradient around NumPy calls, in eager mode and in a tf.function.

    pip install . tensorflow
    python examples/tensorflow_custom_gradient.py

`tf.numpy_function` hands NumPy arrays to agauss's loops, on the CPU and outside XLA: under `jit_compile=True` it does
not work. The noise's key is an argument, an integer tensor, so that a traced function draws anew at each step; the
backward pass regenerates the noise from it. The gradient is compared with TensorFlow's own of the plain formula.
"""

import sys

import numpy as np
import tensorflow as tf

import agauss as ag

SHAPE = (64, 8, 6, 6)  # mean and log-variance of 4 channels, on axis 1
WEIGHTS = np.random.default_rng(0).standard_normal((64, 4, 6, 6), dtype=np.float32)  # of z in the loss
ULP = float(np.finfo(np.float32).eps)


@tf.custom_gradient
def sample_and_kl(parameters, key):
    """z, shape (B, C, ...), and the KL of each sample, (B,), of a float32 tensor (B, 2C, ...) and an int64 key."""
    z, kl = tf.numpy_function(forward, [parameters, key], [parameters.dtype, tf.float32])
    batch, channels, *rest = parameters.shape  # which numpy_function does not pass on
    z.set_shape([batch, None if channels is None else channels // 2, *rest])
    kl.set_shape([batch])

    def gradient(d_z, d_kl):
        d_parameters = tf.numpy_function(backward, [parameters, key, d_z, d_kl], parameters.dtype)
        d_parameters.set_shape(parameters.shape)
        return d_parameters, None  # the key has no gradient

    return (z, kl), gradient


def forward(parameters, key):
    return ag.sample_and_kl(parameters, rng=int(key))


def backward(parameters, key, d_z, d_kl):
    return ag.sample_and_kl_vjp(parameters, cotangent=(d_z, d_kl), rng=int(key))


def plain(parameters, eps):
    """The same in TensorFlow's own operations, which take the noise as given."""
    mean, logvar = tf.split(parameters, 2, axis=1)
    z = mean + tf.exp(logvar / 2) * eps
    return z, tf.reduce_sum(mean**2 + tf.exp(logvar) - 1 - logvar, axis=[1, 2, 3]) / 2


def gradient_of(function, parameters, noise):
    """Of a loss that both outputs go into."""
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        z, kl = function(parameters, noise)
        loss = tf.reduce_sum(WEIGHTS * z) + tf.reduce_mean(kl)
    return tape.gradient(loss, parameters)


@tf.function(input_signature=[tf.TensorSpec((None, *SHAPE[1:])), tf.TensorSpec((), tf.int64)])
def traced(parameters, key):
    """z and the gradient."""
    return sample_and_kl(parameters, key)[0], gradient_of(sample_and_kl, parameters, key)


def main():
    parameters = tf.constant(np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32))
    keys = [tf.constant(n, tf.int64) for n in (7, 8, 7)]
    expected = gradient_of(plain, parameters, ag.random.normal(WEIGHTS.shape, rng=7))
    samples, gradients = zip(*(traced(parameters, key) for key in keys), strict=True)
    found = {"eager": gradient_of(sample_and_kl, parameters, keys[0]), "tf.function": gradients[0]}
    worst = {
        name: float(tf.reduce_max(tf.abs(g - expected) / tf.maximum(tf.abs(expected), 1))) for name, g in found.items()
    }
    for name, error in worst.items():
        print(f"{name}: gradient within {error / ULP:.1f} ulp of TensorFlow's own of the plain formula")
    fresh, again = (bool(tf.reduce_any(samples[0] != z)) for z in samples[1:])
    print(f"one trace, another key: other noise: {fresh}; the first key again: same bits: {not again}")
    return 0 if max(worst.values()) < 8 * ULP and fresh and not again else 1


if __name__ == "__main__":
    sys.exit(main())
