"""The recipes under examples/: each runs as its first lines say, and what it prints is true."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def needs(*packages):
    missing = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def printed(name, *arguments):
    """What an example prints, which must end well."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


def numbers(pattern, text):
    """The numbers in the groups of a pattern that the text must hold."""
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in {text}"
    return [float(group) for group in found.groups()]


@pytest.mark.slow
def test_a_loop_of_vjps_trains_to_the_closed_form_optimum():
    text = printed("cupy_training.py", "--numpy")
    first, last = numbers(r"numpy: ELBO (-\d+\.\d+) nats a point untrained, (-\d+\.\d+) after", text)
    best, above = numbers(r"in closed form: (-\d+\.\d+), (\d+\.\d+) above", text)
    assert first < last - 10
    assert last < best
    assert above < 0.02


@pytest.mark.slow
@needs("sklearn")
def test_the_numpy_vae_is_trained_and_judged():
    text = printed("numpy_vae.py")
    elbo, bound, ceiling = numbers(
        r"ELBO (-\d+\.\d+) nats a digit, IWAE bound (-\d+\.\d+), no model above (-\d+\.\d+)", text
    )
    # With no latents, an independent Bernoulli for each pixel has -26.67.
    assert -26.67 < elbo < bound < ceiling
    assert "not collapsed: all 10 latents have a variance of means over 0.01" in text
    assert "warning" not in text
    assert numbers(r"shuffled digits at most 0.05: (\d+)%", text) > [90]
    assert numbers(r"with a prior for each label: held-out ELBO (-\d+\.\d+)", text)[0] > elbo + 1


def test_the_cupy_loop_says_that_there_is_no_device():
    text = printed("cupy_training.py")
    assert text.startswith("nothing was trained: there is no CuPy with a CUDA device here")


@pytest.mark.slow
@needs("onnx", "onnxruntime")
def test_latents_of_an_onnx_encoder_have_the_same_bits_in_any_batching():
    text = printed("onnx_latents.py")
    assert "moments (10, 8, 8, 8) to latents (10, 4, 8, 8), float32" in text
    assert "a batch of ten and ten batches of one, same bits: True" in text
    assert "the ten in another order, same bits: True" in text
    assert "without their ids, same bits: False" in text


@pytest.mark.slow
@needs("tensorflow")
def test_gradients_in_tensorflow_are_those_of_the_plain_formula():
    text = printed("tensorflow_custom_gradient.py")
    # exp's and one rounding each of a product and a sum, on both sides
    assert max(numbers(r"eager: gradient within (\d+\.\d) ulp", text)) < 8
    assert max(numbers(r"tf.function: gradient within (\d+\.\d) ulp", text)) < 8
    assert "one trace, another key: other noise: True; the first key again: same bits: True" in text


@pytest.mark.slow
@needs("keras", "jax", "sklearn")
def test_a_keras_vae_on_jax_learns_digits():
    text = printed("keras_vae.py")
    learns(text)
    assert "with other noise the second time: True; Keras runs on jax" in text


@pytest.mark.slow
@needs("torch", "sklearn")
@pytest.mark.parametrize(
    "options",
    [[], pytest.param(["--compile"], marks=pytest.mark.skipif(which("g++") is None, reason="no C++ compiler"))],
    ids=["eager", "compiled"],
)
def test_a_torch_vae_learns_digits_and_its_warm_up_ends(options):
    text = printed("torch_vae.py", *options)
    first, last = numbers(r"held-out ELBO: (-\d+\.\d) nats a digit untrained, (-\d+\.\d) after", text)
    # With no latents, an independent Bernoulli for each pixel has -26.67.
    assert first < -40
    assert last > -25
    assert "not collapsed: all 8 latents" in text
    assert "warning" not in text


@pytest.mark.slow
@needs("jax", "equinox", "optax", "sklearn")
def test_an_equinox_vae_learns_digits():
    learns(printed("equinox_vae.py"))


def learns(text):
    first, last = numbers(r"held-out ELBO: (-?\d+\.\d) nats a digit untrained, (-?\d+\.\d) after", text)
    (kl,) = numbers(r"KL: (\d+\.\d) of them", text)
    # With no latents, and a Gaussian of one variance for all pixels, an ELBO of -4 is the best there is.
    assert first < -100
    assert last > 5
    assert 5 < kl < 30
