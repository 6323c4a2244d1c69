"""Advice on the sizes of a library's model; each option is tried before it is named, on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .library import LibraryModel, keep_results


def size_advice(model: LibraryModel, shapes: Sequence[Sequence[int]]) -> str:
    """Return what to do about ``shapes``, which ``model`` does not take, in words that "or" ends; "" if unknown."""
    own = [(shapes[0][0], *sizes) for sizes in model.inputs.values()]
    takes_own = _takes(lambda: model, own)
    said = ", ".join("x".join(map(str, shape[1:])) for shape in own)
    if takes_own is False:
        return f"its own sizes, {said}, fail as well: give options that fit each other, or "
    found = [text for text, find in model.variants(shapes[0][-2:]).items() if _takes(find, shapes)]
    advice = f"give it the option {' or '.join(found)}, or " if found else ""
    return f"its own are {said}: {advice}" if takes_own else advice


def _takes(find: Callable[[], LibraryModel], shapes: Sequence[Sequence[int]]) -> bool | None:
    """Return True if the model runs at these shapes; None if the meta device cannot tell."""
    import torch

    try:
        with torch.device("meta"), torch.no_grad():
            model = find()
            module = keep_results(model.create().eval(), model.results, model.keywords)
            module(*(torch.empty(tuple(shape)) for shape in shapes))
    except NotImplementedError:  # what has no form without values
        return None
    except Exception as error:  # each model refuses a size in its own way
        return None if "meta" in str(error).lower() else False
    return True
