"""Our time over a peer's, or over a floor's, both measured in turns in one process: what other machines can repeat."""

from functools import partial

from . import common, peers


class Ratios:
    param_names = ("pair", "dtype", "shape")
    params = (list(peers.PAIRS), ["float32", "float64"], [common.MAIN])
    unit = "ours / theirs"

    def setup(self, pair, dtype, shape):
        work, peer = peers.PAIRS[pair]
        inputs = common.Inputs(shape, dtype)
        try:
            self.calls = {"ours": partial(common.OURS[work], inputs), "theirs": peers.PEERS[work][peer](inputs)}
            for call in self.calls.values():
                call()
        except ImportError as error:
            raise NotImplementedError(str(error)) from error

    def track_ratio(self, pair, dtype, shape):
        seconds = common.interleaved(self.calls, rounds=15)
        return seconds["ours"] / seconds["theirs"]
