"""Fixtures that several files use, and how two processes share the tests."""

import pytest


@pytest.fixture(scope="module")
def one_thread_of_torch():
    """Where arrays are small, and threads that wait for busy processors take the longest."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A stretch of files for each: what a test has compiled or worked out is there for its file's next one."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
