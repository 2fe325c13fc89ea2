"""Libraries that networks are taken from: one file for each, and its line here.

A library is an object with the methods of `library.Library`. It has the name of its module, so that
`torchvision:resnet18`, read as an import path, stands in keys with the version of torchvision.
"""

from truehessian.registry import Registry

_ROOM = "truehessian.networks.libraries"
LIBRARIES = Registry(
    "library of networks",
    {
        "torchvision": f"{_ROOM}.torchvision_models:TORCHVISION",
        "timm": f"{_ROOM}.timm_models:TIMM",
        "transformers": f"{_ROOM}.transformers_classes:TRANSFORMERS",
    },
)
