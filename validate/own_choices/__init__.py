"""Judge a graph that chose otherwise than PyTorch: with the same choices everything can be compared.

Chance decides between scores that nearly tie, and all that is behind such a choice differs. So
the graph is run with its choices shown. Each must be the best of the graph's own scores, exactly, by PyTorch's
definition of it; those scores are compared with PyTorch's as outputs are. PyTorch is then run in float64 and in float32
with the places that the graph picked, and every element of every output is compared: none is left out.

``graph_choices`` shows the choices of a graph, ``definition`` holds them against what they must be, ``pairing`` finds
the module's choice for each, ``runs`` has the truth and the floors, of a module or of a graph. ``case_choices`` has
all of that for one case, ``picks`` counts over all cases, and ``judge`` puts the stage together.
"""

from .judge import OwnChoices

__all__ = ["OwnChoices"]
