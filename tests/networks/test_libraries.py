"""Networks of libraries: by name, with their own arguments, without weights from elsewhere."""

import sys
import textwrap
from pathlib import Path

import pytest
import torch

import truehessian as th
from truehessian.networks import registry
from truehessian.networks.libraries import LIBRARIES
from truehessian.pipeline.config.networks import network_facts
from truehessian.pipeline.stage import own_code
from truehessian.pipeline.stage.fingerprint import closure

IMAGES = {"num_classes": 10, "input_shape": (3, 32, 32)}
WORDS = {
    "num_classes": 7,
    "input_shape": {"input_ids": [5], "attention_mask": [5]},
    "input_dtypes": {"input_ids": "int64", "attention_mask": "int64"},
}
SMALL = "torchvision:shufflenet_v2_x0_5"
# What of the libraries is used here, as they have it.
FAKES = {
    "timm": """
        from torch import nn

        def list_models():
            return ["narrow", "wide"]

        def is_model(name):
            return name.partition(".")[0] in list_models()

        def create_model(name, pretrained=False, num_classes=1000, in_chans=3, width=4):
            assert not pretrained
            return nn.Sequential(
                nn.Conv2d(in_chans, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(width, num_classes),
            )
    """,
    "transformers": """
        from types import SimpleNamespace
        from torch import nn

        class TinyConfig:
            use_cache = True

            def __init__(self, num_labels=2, num_channels=3, image_size=224, width=4, **others):
                self.num_labels, self.num_channels = num_labels, num_channels
                self.image_size, self.width = image_size, width
                vars(self).update(others)

        class TinyForImageClassification(nn.Module):
            config_class = TinyConfig

            def __init__(self, config):
                super().__init__()
                self.flat = nn.Flatten()
                pixels = config.num_channels * config.image_size**2
                self.tiny = nn.Linear(pixels, config.width)
                self.classifier = nn.Linear(config.width, config.num_labels)

            def forward(self, pixel_values=None, labels=None):
                return SimpleNamespace(logits=self.classifier(self.tiny(self.flat(pixel_values))))

        class WordConfig:
            use_cache = True

            def __init__(self, num_labels=2, vocab_size=50, width=4, **others):
                self.num_labels, self.vocab_size, self.width = num_labels, vocab_size, width
                vars(self).update(others)

        class WordForCausalLM(nn.Module):
            config_class = WordConfig

            def __init__(self, config):
                super().__init__()
                assert config.num_labels == 2
                assert not config.use_cache
                self.embedding = nn.Embedding(config.vocab_size, config.width)
                self.head = nn.Linear(config.width, config.vocab_size, bias=False)
                self.head.weight = self.embedding.weight

            def forward(self, input_ids=None, attention_mask=None, labels=None):
                assert labels is None
                hidden = self.embedding(input_ids) * attention_mask[..., None]
                return SimpleNamespace(logits=self.head(hidden.cumsum(1)))

        class WordForSequenceClassification(nn.Module):
            config_class = WordConfig

            def __init__(self, config):
                super().__init__()
                self.embedding = nn.Embedding(config.vocab_size, config.width)
                self.classifier = nn.Linear(config.width, config.num_labels)

            def forward(self, input_ids=None, attention_mask=None, labels=None):
                hidden = (self.embedding(input_ids) * attention_mask[..., None]).sum(1)
                return SimpleNamespace(logits=self.classifier(hidden))

        class AutoConfig:
            @staticmethod
            def for_model(model_type, **values):
                if model_type != "word":
                    raise ValueError(f"Unrecognized model identifier: {model_type}")
                return WordConfig(**values)

        class AutoModelForCausalLM:
            from_config = WordForCausalLM

        def a_function():
            pass
    """,
    "broken": "raise RuntimeError('operator torchvision::nms does not exist')",
}


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    for name, text in FAKES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in FAKES:
        sys.modules.pop(name, None)


def settings(name, **arguments):
    return {"name": name, **IMAGES, **arguments}


def test_a_network_of_torchvision_is_torchvisions_own():
    import torchvision

    model = registry.build(**settings("torchvision:resnet18"), seed=0)
    assert isinstance(model, torchvision.models.ResNet)
    assert model.fc.out_features == 10
    assert network_facts(settings("torchvision:resnet18")).num_parameters == 11_181_642


def test_its_arguments_are_those_of_the_library():
    facts = network_facts(settings("torchvision:vit_b_16", image_size=32))
    assert facts.num_parameters == 85_658_890


@pytest.mark.parametrize(
    ("name", "size"), [("googlenet", 32), ("inception_v3", 75), ("shufflenet_v2_x0_5", 32)]
)
@pytest.mark.filterwarnings("ignore:The default weight init")
def test_it_has_one_set_of_logits_in_training_as_well(name, size):
    shape = (3, size, size)
    with torch.device("meta"):
        model = registry.build(f"torchvision:{name}", num_classes=10, input_shape=shape)
        assert model.train()(torch.zeros(2, *shape)).shape == (2, 10)


def test_it_has_a_hessian():
    model = registry.build(**settings(SMALL), seed=0)
    examples = torch.randn(4, 3, 32, 32), torch.arange(4)
    hessian = th.Hessian(model, examples, precision="float64")
    u, v = torch.randn(2, hessian.num_params, dtype=torch.float64)
    torch.testing.assert_close(u @ (hessian @ v), v @ (hessian @ u))


def test_a_network_of_timm_takes_any_number_of_channels(fakes):
    facts = network_facts(settings("timm:wide", width=5) | {"input_shape": (1, 8, 8)})
    assert facts.num_parameters == 9 * 5 + 5 + 5 * 10 + 10
    assert registry.build(**settings("timm:wide.in1k", pretrained=False))[0].in_channels == 3


def test_a_class_of_transformers_gives_its_logits(fakes):
    model = registry.build(**settings("transformers:TinyForImageClassification", width=3))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert registry.count_parameters(model) == 3 * 32 * 32 * 3 + 3 + 3 * 10 + 10


@pytest.mark.parametrize(
    ("name", "arguments", "parameters", "shape"),
    [
        # A language model has the vocabulary for its classes, and counts tied weights once.
        ("WordForCausalLM", {}, 7 * 4, (2, 5, 7)),
        ("WordForCausalLM", {"vocab_size": 9}, 9 * 4, (2, 5, 9)),
        ("AutoModelForCausalLM", {"model_type": "word", "width": 3}, 7 * 3, (2, 5, 7)),
        ("WordForSequenceClassification", {"width": 3}, 50 * 3 + 3 * 7 + 7, (2, 7)),
    ],
)
def test_a_class_of_transformers_takes_tokens_by_name(fakes, name, arguments, parameters, shape):
    named = {"name": f"transformers:{name}", **WORDS, **arguments}
    assert network_facts(named).num_parameters == parameters
    tokens = {"input_ids": torch.ones(2, 5, dtype=torch.int64), "attention_mask": torch.ones(2, 5)}
    assert registry.build(**named)(**tokens).shape == shape


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("torchvision:resnt18", {}, "no network of this name .*; did you mean 'resnet18'"),
        ("torchvision:ResNet18", {}, "did you mean 'resnet18'"),
        ("torchvision:fcn_resnet50", {}, "no network of this name for the classification"),
        ("torchvision:", {}, "no network of this name"),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, "takes no weights, .* `checkpoints`"),
        ("torchvision:resnet18", {"widht": 3}, "arguments widht.* unexpected keyword"),
        ("torchvision:vit_b_16", {}, r"take images of shape \(3, 32, 32\) \(.*Expected 224"),
        (SMALL, {"input_shape": (1, 8, 8)}, r"take images of shape \(1, 8, 8\) \(.* 3 channels"),
        ("timm:wdie", {}, "did you mean 'wide'"),
        ("timm:wide", {"pretrained": True}, "takes no pretrained, because weights come from"),
        ("timm:wide", {"checkpoint_path": "x.pth"}, "takes no checkpoint_path"),
        ("transformers:TinyForImagClassification", {}, "mean 'TinyForImageClassification'"),
        ("transformers:a_function", {}, "has no class of this name with a configuration"),
        ("transformers:TinyConfig", {}, "has no class of this name with a configuration"),
        ("transformers:WordForCausalML", {}, "did you mean 'WordForCausalLM'"),
        ("transformers:AutoModelForCausalLM", {}, "needs the key model_type"),
        (
            "transformers:AutoModelForCausalLM",
            {"model_type": "w"},
            "knows no model_type 'w' .*Unre",
        ),
        ("transformers:WordForCausalLM", {}, r"does not take images of shape \(3, 32, 32\)"),
        (
            "torchvision:resnet18",
            WORDS,
            "takes one tensor of real numbers, and the data have inputs",
        ),
        ("timm:wide", WORDS, "takes one tensor of real numbers, .* given by the keys 'input_ids'"),
        ("mlp", WORDS, "takes one tensor of real numbers"),
        ("transformers:TinyForImageClassification", WORDS, "does not take inputs of .*input_ids"),
        (
            "transformers:TinyForImageClassification",
            {"widht": 3},
            "takes what TinyConfig does, which has no 'widht'; did you mean 'width'",
        ),
        (
            "transformers:TinyForImageClassification",
            {"image_size": 8},
            r"does not take images of shape \(3, 32, 32\)",
        ),
    ],
)
def test_what_a_library_does_not_make_is_refused_in_a_sentence(fakes, name, arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        network_facts(settings(name) | arguments)
    assert str(error.value).startswith(f"model {name}")
    assert "\n" not in str(error.value)


def test_other_logits_than_there_are_classes_are_refused(fakes):
    model = torch.nn.Flatten()
    with pytest.raises(ValueError, match=r"logits of shape \(1, 10\), but gives \(1, 3072\)"):
        registry.check_output(model, "timm:wide", **IMAGES)
    registry.check_output(model, "own:make", **IMAGES)


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_library_that_is_not_installed_is_named_with_its_remedy(library, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=f"not installed; install it with `uv pip install {library}"
    ):
        registry.build(**settings(f"{library}:any"))


def test_a_library_that_cannot_be_imported_is_named_with_the_reason(fakes):
    from truehessian.networks.libraries import making

    with pytest.raises(ValueError, match=r"importing broken fails \(RuntimeError: operator torchv"):
        making.imported("broken", "any")


def test_in_keys_a_network_counts_by_the_version_of_its_library():
    code = own_code.of_paths([SMALL])
    assert list(code.packages) == ["torchvision"]
    assert code.modules == {}


def test_how_a_library_is_asked_has_a_part_in_keys_of_its_networks_only():
    script = Path(__file__).parents[2] / "scripts/measure_full_spectra.py"
    paths = {path: path.partition(":")[0] for path in map(LIBRARIES.path, LIBRARIES)}
    assert not closure(script).keys() & paths.values()
    for path, module in paths.items():
        assert closure(script, [path]).keys() & paths.values() == {module}


def test_the_names_of_libraries_are_those_of_their_modules():
    assert "torchvision" in LIBRARIES
    for library in LIBRARIES.entries().values():
        assert callable(library.factory)
