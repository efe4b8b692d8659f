"""`explain`: the path that a call has taken, told where it was taken."""

import threading

import autograd
import cuda_devices
import dask.array as da
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import agauss as ag
from agauss.arrays import NUMPY
from agauss.backends.cpu import threads
from agauss.integrations import autograd as aga
from agauss.integrations import torch as agt


def one(*args, **kwargs):
    (step,) = ag.explain(*args, **kwargs).steps
    return step


def test_small_arrays_run_on_one_thread_and_are_not_copied():
    step = one(ag.kl, np.zeros((4, 3), np.float32), 0.0, axis=1)
    assert (step.backend, step.kernel, step.dtype) == ("Numba loops", "row_reduce of kl_prior", "float32")
    assert step.copies == []
    assert step.notes == ["on one thread: 12 elements are fewer than 32768"]


def test_large_arrays_run_on_all_threads():
    big = np.zeros((512, 1024), np.float16)
    step = one(ag.sample, big, big, rng=0)
    assert step.kernel == "map of sample"
    assert step.notes[0].startswith("half precision is turned into float32")
    assert step.notes[1] == f"on {threads.threads()} threads" or threads.threads() == 1


def test_a_call_beside_another_says_so():
    big = np.zeros((512, 1024), np.float32)
    ag.kl(big, big)
    with threads._pool:
        assert one(ag.kl, big, big).notes == ["on one thread: another call has Numba's threads"]
    with threads.alone():
        assert one(ag.kl, big, big).notes == ["on one thread: its block has no more"]


def test_arrays_that_are_read_element_by_element_are_told():
    a = np.zeros((8, 6))
    assert "element by element" in one(ag.kl, a.T, a.T).notes[0]
    assert "read element by element" not in str(one(ag.kl, a[:, :4], a[:, 2:]))


def test_copies_are_told():
    record = np.zeros((4, 3), [("a", "f4"), ("b", "i2")])["a"]
    step = one(ag.kl, record, record)
    assert step.copies == ["the arguments: their strides do not count whole, aligned items"]
    a = np.zeros(9)
    step = one(ag.sample, a[1:], a[1:], rng=0, out=a[:-1])
    assert step.copies == ["out: it overlaps an argument, or its strides do not count whole, aligned items"]


def test_a_broadcast_gradient_is_a_pass_of_its_own():
    found = ag.explain(ag.kl_vjp, np.zeros((4, 3)), np.zeros(3), cotangent=1.0)
    assert [step.kernel for step in found.steps] == ["row_reduce of kl_prior_vjp", "map of kl_prior_vjp"]


def test_kernels_are_told():
    device = cuda_devices.Shim()
    a = np.zeros((3, 8, 6), np.float32)
    with device.kernels():
        step = one(ag.sample, a, a[:, :1], rng=0)
        assert (step.backend, step.kernel, step.dtype) == ("CUDA kernel", "map of sample", "float32")
        assert "element by element" in str(one(ag.kl, a.T, a.T, axis=()))


def test_other_libraries_are_told_of_a_faster_path():
    step = one(ag.kl, torch.zeros(2, 3), torch.zeros(2, 3))
    assert (step.backend, step.kernel, step.library) == ("array-API form", "kl_prior", "torch")
    assert "agauss.integrations.torch" in step.notes[0]
    assert one(agt.kl, torch.zeros(2, 3), torch.zeros(2, 3)).backend == "Numba loops"
    step = one(ag.kl, jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    assert (step.backend, step.kernel, step.library) == ("Numba loops", "row_reduce of kl_prior", "jax")


def test_a_traced_call_and_a_lazy_one_are_told_once():
    assert len(ag.explain(jax.jit(ag.kl), jnp.zeros((2, 7)), jnp.zeros((2, 7))).steps) == 1
    d = da.zeros((6, 4), chunks=(2, 2))
    step = one(ag.sample, d, d, rng=0)
    assert step.backend == "Dask blocks"
    assert step.notes == ["6 tasks, one for each block, by its own library's backend when computed"]


def test_a_gradient_of_a_gradient_is_told_to_take_the_slow_path():
    hessian = autograd.hessian(lambda m: aga.kl(m, np.zeros(2)))
    backends = [step.backend for step in ag.explain(hessian, np.ones(2)).steps]
    assert backends[0] == "Numba loops"
    assert "array-API form" in backends


def test_it_prints_a_line_for_each_fact():
    text = repr(ag.explain(ag.DiagonalGaussianDistribution(np.zeros((2, 6))).sample_and_kl, rng=0))
    assert text.splitlines() == [
        "sample_and_kl: 1 pass",
        "  Numba loops for numpy: row_reduce of sample_and_kl in float64",
        "    copies nothing",
        "    on one thread: 6 elements are fewer than 32768",
    ]


def test_other_threads_are_not_watched():
    a = np.zeros(3)

    def elsewhere():
        worker = threading.Thread(target=ag.kl, args=(a, a))
        worker.start()
        worker.join()

    assert ag.explain(elsewhere).steps == ()


def test_nothing_is_written_down_where_nobody_watches():
    with pytest.raises(ValueError, match="broadcast"):
        ag.explain(ag.kl, np.zeros(2), np.zeros(3))
    assert not NUMPY.backend.steps.watching()
