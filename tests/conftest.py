"""How two processes share the tests."""

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A stretch of files for each: what a test has compiled or worked out is there for its file's next one."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
