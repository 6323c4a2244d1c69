"""Options on top of a configuration: through its constructor, into configurations inside it, unknown ones refused."""

from __future__ import annotations

import pytest

from attn2trt.errors import InputError
from attn2trt.modules.libraries.configuration import configured


class Inner:
    def __init__(self, depths=(2, 2), hidden_act="relu", **others):
        self.depths = depths
        self.hidden_act = hidden_act
        self.hidden_size = 8 * 2 ** len(depths)
        vars(self).update(others)

    def to_dict(self):
        return vars(self)


class Outer:
    attribute_map = {"hidden_size": "d_model"}  # noqa: RUF012

    def __init__(self, d_model=64, names=("a", "b"), backbone_config=None, **others):
        if not isinstance(d_model, int):
            raise TypeError("d_model is an int")
        if names == ["x"]:
            raise ValueError("out_features must be a subset of stage_names")
        self.d_model = d_model
        self.names = names
        self.backbone_config = backbone_config or Inner(hidden_act="gelu")
        vars(self).update(others)

    def to_dict(self):
        return vars(self)


def test_options_go_through_the_constructor_and_keep_what_was_set():
    found = configured(Outer(), {"d_model": "32", "backbone_config.depths": "1/1/1", "names": "c"}, "net")
    assert (found.d_model, found.names) == (32, ["c"])
    assert found.backbone_config.depths == [1, 1, 1]
    assert found.backbone_config.hidden_size == 64  # derived anew
    assert found.backbone_config.hidden_act == "gelu"  # the parent's choice, not the class's default
    assert configured(Outer(d_model=16), {"names": "a/d"}, "net").d_model == 16
    base = Outer()
    assert configured(base, {}, "net") is base


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_modle": "3"}, "received option 'd_modle' of net; expected one of its Outer; did you mean d_model"),
        ({"backbone_config.dept": "3"}, "option 'dept' of net's backbone_config; .* did you mean depths"),
        ({"d_model.depths": "3"}, r"received option d_model\.depths of net, whose d_model is 64; expected a config"),
        ({"names": "x"}, r"out_features must be a subset.*\); add out_indices, the stages that are read"),
        ({"d_model": "x"}, r"options d_model=x of net, which transformers refused \(TypeError: d_model is an int\)"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        configured(Outer(), options, "net")
