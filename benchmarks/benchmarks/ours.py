"""agauss itself: every piece of work, over the shapes, over the dtypes, and on each backend."""

from . import common


class _Ours:
    param_names = ("work", "backend", "dtype", "shape")
    repeat = (3, 50, 2.0)

    def setup(self, *case):
        self.call = common.prepared(*case)

    def time_call(self, *case):
        self.call()


class Shapes(_Ours):
    params = (common.WORKS, ["numba"], ["float32"], common.SHAPES)


class Others(_Ours):
    params = (common.OTHER_WORK, ["numba"], ["float32"], [common.MAIN])


class Dtypes(_Ours):
    params = (common.WORKS, ["numba"], common.DTYPES, [common.MAIN])


class Backends(_Ours):
    params = (common.WORKS, list(common.BACKENDS), ["float32"], [common.MAIN])


class Large(_Ours):
    params = (["kl"], ["numba"], ["float32", "float64"], [common.LARGE])
