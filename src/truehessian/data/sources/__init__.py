"""Where data come from: one file for each source, and its line here.

A source is an object with the methods of `catalogue.DataSource`.
"""

from truehessian.registry import Registry

SOURCES = Registry(
    "dataset",
    {
        "digits": "truehessian.data.sources.digits:DIGITS",
        "cifar10": "truehessian.data.sources.torchvision_sets:CIFAR10",
        "cifar100": "truehessian.data.sources.torchvision_sets:CIFAR100",
        "mnist": "truehessian.data.sources.torchvision_sets:MNIST",
        "fashion_mnist": "truehessian.data.sources.torchvision_sets:FASHION_MNIST",
        "tensors": "truehessian.data.sources.tensors:TENSORS",
        "image_folder": "truehessian.data.sources.folders:FOLDERS",
    },
    own=True,
)
