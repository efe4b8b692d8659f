"""Our time over a peer's or the floor's, both measured in turns in one process: what other machines can repeat."""

from functools import partial

from . import common, peers


class Ratios:
    params = (list(peers.PAIRS), common.RATIO_DTYPES, [common.MAIN])
    param_names = ("pair", "dtype", "shape")
    unit = "ours / theirs"

    def setup(self, pair, dtype, shape):
        a = common.inputs(shape, dtype)
        ours = partial(common.OURS[peers.PAIRS[pair][0]], a)
        ours()
        self.calls = {"ours": ours, "theirs": peers.peer_call(pair, a)}

    def track_ratio(self, pair, dtype, shape):
        seconds = common.interleaved(self.calls, rounds=common.ROUNDS)
        return seconds["ours"] / seconds["theirs"]
