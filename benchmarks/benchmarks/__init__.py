"""asv's suites: ours, peers, ratios, small, process. common has the work and the inputs, the same for all."""
