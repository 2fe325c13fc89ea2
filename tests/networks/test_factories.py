"""Factories of a user's own: how they are found, called and counted."""

import random
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from truehessian.networks import checkpoints, registry
from truehessian.pipeline.config import networks
from truehessian.pipeline.config.networks import network_facts

DIGITS = {"input_shape": (1, 8, 8), "num_classes": 10}
FACTORIES = """
    import random

    import numpy as np
    import torch
    from torch import nn

    network = nn.Linear(64, 10)
    number = 3

    def flat(*layers):
        return nn.Sequential(nn.Flatten(), *layers)

    def reads_numbers(num_classes, input_shape):
        rates = [rate.item() for rate in torch.linspace(0, 0.1, 4)]
        return flat(nn.Dropout(rates[-1]), nn.Linear(64, num_classes))

    def gives_to_numpy(num_classes, input_shape):
        torch.linspace(0, 1, 3).numpy()
        return flat(nn.Linear(64, num_classes))

    def loads_weights(num_classes, input_shape):
        net = flat(nn.Linear(64, num_classes))
        net.load_state_dict({"1.weight": torch.ones(10, 64), "1.bias": torch.ones(10)})
        return net

    def warns(num_classes, input_shape):
        import warnings
        if torch.zeros(()).is_meta:
            warnings.warn("weights cannot be loaded here")
        return flat(nn.Linear(64, num_classes))

    def draws(num_classes, input_shape):
        net = flat(nn.Linear(64, num_classes))
        for weight in net.parameters():
            drawn = np.random.rand() + random.random() + torch.rand(()).item()
            nn.init.constant_(weight, drawn)
        return net

    def prints(num_classes, input_shape):
        print("a network of", num_classes)
        return flat(nn.Linear(64, num_classes))

    def positional(num_classes, input_shape, /, width=4):
        return flat(nn.Linear(64, width), nn.Linear(width, num_classes))

    def keyword(*, input_shape, num_classes):
        return flat(nn.Linear(64, num_classes))

    def without_shape(num_classes):
        return flat(nn.Linear(64, num_classes))

    def variadic(**arguments):
        return flat(nn.Linear(arguments["input_shape"][1] ** 2, arguments["num_classes"]))

    def hands_on(**arguments):
        return without_shape(**arguments)

    def other_names(classes, shape, num_classes=3):
        return flat(nn.Linear(64, classes))

    def lazy(num_classes, input_shape):
        return flat(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(num_classes))

    def lazy_in_vain(num_classes, input_shape):
        return nn.Sequential(nn.LazyLinear(4), nn.Linear(7, num_classes))

    class Words(nn.Module):
        def __init__(self, num_classes, input_shape):
            super().__init__()
            assert input_shape == {"ids": (5,), "more": ((2, 3), ())}, input_shape
            self.embedding = nn.Embedding(7, 4)
            self.out = nn.LazyLinear(num_classes)

        def forward(self, ids, more):
            hidden = self.embedding(ids).sum(1)
            return self.out(torch.cat([hidden, more[0].flatten(1), more[1][:, None]], 1))

    class Two(nn.Module):
        def __init__(self, num_classes, input_shape):
            super().__init__()
            self.out = nn.LazyLinear(num_classes)
            self.shape = input_shape

        def forward(self, first, second):
            return self.out(torch.cat([first, second.double().float()], 1))

    def parallel(num_classes, input_shape):
        return nn.DataParallel(flat(nn.Linear(64, num_classes)))

    def compiled(num_classes, input_shape):
        return torch.compile(nn.DataParallel(flat(nn.Linear(64, num_classes))))

    def fails(num_classes, input_shape):
        raise ZeroDivisionError("no such luck")

    def gives_a_list(num_classes, input_shape):
        return [nn.Linear(64, num_classes)]
"""


@pytest.fixture(autouse=True)
def own_modules(tmp_path, monkeypatch):
    (tmp_path / "own_factories.py").write_text(textwrap.dedent(FACTORIES))
    (tmp_path / "raises_at_import.py").write_text("1 / 0\n")
    (tmp_path / "exits_at_import.py").write_text("import sys\nsys.exit(2)\n")
    (tmp_path / "needs_another.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)


def own(factory):
    return {"name": f"own_factories:{factory}", **DIGITS}


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


@pytest.mark.parametrize(
    ("factory", "count"),
    [
        ("reads_numbers", 650),
        ("gives_to_numpy", 650),
        ("loads_weights", 650),
        ("draws", 650),
        ("prints", 650),
        ("positional", 64 * 4 + 4 + 4 * 10 + 10),
        ("keyword", 650),
        ("without_shape", 650),
        ("variadic", 650),
        ("parallel", 650),
        ("compiled", 650),
        ("lazy", 64 * 4 + 4 + 4 + 4 + 4 * 10 + 10),
    ],
)
def test_a_factory_is_counted_whatever_it_does(factory, count, capsys, recwarn):
    """On the meta device where that works, else for real; nothing global changes."""
    before = states()
    facts = network_facts(own(factory))
    assert (facts.num_parameters, facts.has_batch_norm) == (count, factory == "lazy")
    assert states() == before
    assert capsys.readouterr().out == ""
    assert not recwarn.list
    model = registry.build(f"own_factories:{factory}", **DIGITS, seed=0)
    assert model.eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert states() == before


@pytest.mark.parametrize("factory", ["parallel", "compiled"])
def test_the_network_of_a_wrapper_is_meant(factory, tmp_path):
    """Whether its weights were saved with the wrapper or without."""
    model = registry.build(f"own_factories:{factory}", **DIGITS, seed=0)
    assert isinstance(model, nn.Sequential)
    theirs = {"state_dict": nn.DataParallel(model).state_dict(), "epoch": 7}
    for number, content in enumerate([theirs, model.state_dict()]):
        source, target = tmp_path / f"{number}.pt", tmp_path / f"{number}.safetensors"
        torch.save(content, source)
        checkpoints.convert(source, target, model_settings=own(factory), metadata={})
        taken = checkpoints.load(target, model=own(factory))
        assert taken.state_dict().keys() == {"1.weight", "1.bias"}
        assert taken[1].weight.equal(model[1].weight)


def test_a_network_takes_no_memory_to_be_counted(monkeypatch):
    devices = []
    monkeypatch.setattr(
        networks, "facts_of", lambda model: devices.append(next(model.parameters()).device)
    )
    network_facts(own("keyword"))
    network_facts(own("warns"))
    network_facts(own("reads_numbers"))
    assert [device.type for device in devices] == ["meta", "meta", "cpu"]


def test_the_seed_decides_whatever_the_factory_draws_from():
    drawn = []
    for seed in (0, 0, 1):
        drawn.append(registry.build("own_factories:draws", **DIGITS, seed=seed)[1].bias[0].item())
        random.random(), np.random.rand(), torch.rand(())  # noqa: NPY002
    assert drawn[0] == drawn[1] != drawn[2]


def test_lazy_layers_get_their_shapes_from_inputs_by_name():
    """The shapes as a configuration has them, in values of JSON."""
    shape = {"ids": [5], "more": [[2, 3], []]}
    model = registry.build(
        "own_factories:Words",
        num_classes=3,
        input_shape=shape,
        input_dtypes={"ids": "int64", "more": ["float32", "float64"]},
    )
    assert model.out.in_features == 4 + 6 + 1


def test_lazy_layers_get_their_shapes_from_inputs_by_position():
    model = registry.build("own_factories:Two", num_classes=3, input_shape=[[2], [4]])
    assert model.out.in_features == 6
    assert model.shape == ((2,), (4,))


def test_lazy_layers_leave_the_mode_and_the_statistics_alone():
    model = registry.build("own_factories:lazy", **DIGITS)
    assert all(module.training for module in model.modules())
    assert not model[2].running_mean.any()
    assert model[2].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("own_factories:keyword", {"width": 3}, "takes no arguments of its own, got 'width'"),
        (
            "own_factories:positional",
            {"widht": 3},
            "got 'widht'; did you mean 'width'",
        ),
        ("own_factories:other_names", {}, "needs classes, shape; it is called with num_classes"),
        (
            "own_factories:hands_on",
            {},
            r"does not take input_shape \(.*write a function",
        ),
        ("own_factories:gives_a_list", {}, "has to make a torch.nn.Module, but made a list"),
        ("own_factories:lazy_in_vain", {}, r"lazy layers, .* image of shape \(1, 8, 8\) \(Runtime"),
        ("own_factories:network", {}, "is a Linear and not a function that makes a network"),
        ("own_factories:number", {}, "is a int and not a function that makes a network"),
        ("raises_at_import:make", {}, r"importing raises_at_import fails \(ZeroDivisionError: div"),
        ("exits_at_import:make", {}, r"importing exits_at_import fails \(SystemExit: 2\)"),
        ("needs_another:make", {}, r"cannot import needs_another \(No module named 'no_such_pack"),
        (":make", {}, "importing  fails"),
    ],
)
def test_what_makes_no_network_is_refused_in_a_sentence(name, arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        registry.build(name, **DIGITS, **arguments)
    assert str(error.value).startswith(f"model {name}")
    assert "\n" not in str(error.value)


def test_what_a_factory_raises_is_what_it_raises_for_real():
    with pytest.raises(ZeroDivisionError, match="no such luck"):
        network_facts(own("fails"))


def test_a_network_may_be_a_class_of_pytorch():
    model = registry.build("torch.nn:Linear", **DIGITS, in_features=3, out_features=2)
    assert isinstance(model, nn.Linear)
