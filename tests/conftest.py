"""Fixtures that several files use."""

import pytest


@pytest.fixture(scope="module")
def one_thread_of_torch():
    """Where arrays are small, and threads that wait for busy processors take the longest."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
