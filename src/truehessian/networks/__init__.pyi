import truehessian.registry

from .mlp import MLP as MLP
from .preresnet import PreResNet as PreResNet
from .registry import build as build
from .vgg import VGG as VGG

NETWORKS: truehessian.registry.Registry
