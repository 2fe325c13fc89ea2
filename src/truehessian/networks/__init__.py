"""Architectures, checkpoints and training."""

import lazy_loader

from truehessian.registry import Registry

NETWORKS = Registry(
    "model",
    {
        "mlp": "truehessian.networks.mlp:MLP",
        "preresnet": "truehessian.networks.preresnet:PreResNet",
        "vgg": "truehessian.networks.vgg:VGG",
    },
    own=True,
)
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
