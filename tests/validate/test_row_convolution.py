import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from attn2trt.validate.float64 import float64_mode


class Rows(TorchDispatchMode):
    """Counts the rows of every convolution that PyTorch is given."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.found.append(len(args[0]))
        return func(*args, **(kwargs or {}))


def run(convolve, *shapes):
    """What a convolution gives in float64, the same without the mode, and the rows of each call."""
    values = [torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).double() for shape in shapes]
    with torch.no_grad(), Rows() as rows, float64_mode():
        found = convolve(*values)
    return found, convolve(*values), rows.found


@pytest.fixture(autouse=True)
def _one_thread():
    """A row for each thread is convolved at a time in any case."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("convolve", "batch", "weights"),
    [
        (lambda x, w: F.conv2d(x, w, stride=2, padding=1, dilation=2), (5, 32, 96, 96), (8, 32, 3, 3)),
        (lambda x, w: F.conv2d(x, w, w.sum((1, 2, 3)), padding="same"), (5, 32, 96, 64), (8, 32, 3, 5)),
        (F.conv1d, (5, 64, 4096), (4, 64, 5)),
        (lambda x, w: F.conv3d(x, w, padding=1), (5, 4, 24, 24, 24), (2, 4, 3, 3, 3)),
        (lambda x, w: F.conv2d(x.to(memory_format=torch.channels_last), w), (5, 32, 96, 96), (8, 32, 3, 3)),
    ],
)
def test_a_large_batch_is_convolved_a_few_rows_at_a_time_to_the_same_digits(convolve, batch, weights):
    found, expected, rows = run(convolve, batch, weights)
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()
    assert sum(rows) == 5
    assert max(rows) < 5


@pytest.mark.parametrize(
    ("convolve", "batch", "weights"),
    [
        (F.conv2d, (5, 32, 16, 16), (8, 32, 3, 3)),  # small
        (F.conv2d, (0, 32, 96, 96), (8, 32, 3, 3)),  # empty
        (F.conv2d, (5, 64, 128, 128), (8, 64, 1, 1)),  # no windows
        (lambda x, w: F.conv2d(x, w, groups=32), (5, 32, 96, 96), (32, 1, 3, 3)),
        (F.conv_transpose2d, (5, 32, 96, 96), (32, 8, 3, 3)),
    ],
)
def test_others_are_convolved_at_once(convolve, batch, weights):
    found, expected, rows = run(convolve, batch, weights)
    assert torch.equal(found, expected)
    assert rows == [batch[0]]
