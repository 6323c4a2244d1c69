"""The rules of a clock that measures in milliseconds: what is timed by them is no number to read."""

from attn2trt.engines.timing.method import Method

QUICK = Method(
    seconds=0.001, iterations=2, max_seconds=0.01, rounds=2, warm_up_seconds=0, settle_seconds=0, pause_seconds=0
)
