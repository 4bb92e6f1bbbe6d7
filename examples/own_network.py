"""A network of your own: linnaeus train digits --model examples/own_network.py:build"""

from torch import nn


def build(num_classes: int, in_chans: int = 3, width: int = 32) -> nn.Module:
    """Return a module that maps pictures [N, in_chans, H, W] to logits [N, num_classes].

    Linnaeus passes num_classes, in_chans and img_size where the function takes them; anything else, such as width
    here, is an option: --set model.options.width=64
    """
    return nn.Sequential(
        nn.Conv2d(in_chans, width, kernel_size=3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, stride=2),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, num_classes),
    )
