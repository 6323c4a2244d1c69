"""Find the first PyTorch module and ONNX node of a failed stage whose output leaves PyTorch's own rounding.

Every tensor that enters or leaves a module in PyTorch is compared, by its values, with what crosses the same boundary
in the graph. The floor at a boundary is what PyTorch loses there in float32, as for the outputs. Going back from the
first boundary that is wrong to what is known to be right leaves a few nodes; PyTorch's operators in those modules
single one out. Last, the module is cut out of the graph and fed PyTorch's own inputs: a fault that shows there too is
proven to be there.

``search`` tells this story. It calls, in this order, ``truth`` (PyTorch's tensors and floors, by ``eager_calls``),
``observed`` (the graph's values, by ``watching``), ``homes`` and ``judge`` (which boundaries are wrong), ``operators``
(which node), ``missing`` (what has no node) and ``proof``. ``between`` does without PyTorch, ``held`` without a map
from the graph's nodes to modules.
"""

from .location import Location
from .search import locate

__all__ = ["Location", "locate"]
