"""Networks that belong to the story and that timm does not have: AlexNet, from torchvision, with timm's interface."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torchvision.models import AlexNet, AlexNet_Weights

default_cfgs = generate_default_cfgs(
    {
        "alexnet.tv_in1k": {
            "url": AlexNet_Weights.IMAGENET1K_V1.url,
            "input_size": (3, 224, 224),
            "interpolation": "bilinear",
            "first_conv": "features.0",
            "classifier": "classifier.6",
        }
    }
)


class TimmAlexNet(AlexNet):
    """Give torchvision's AlexNet the interface that timm's networks have.

    Source:
        A. Krizhevsky (2014), arXiv:1404.5997: the one-tower variant, as in torchvision.
    """

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.5) -> None:
        super().__init__(num_classes=num_classes, dropout=drop_rate)
        if in_chans != 3:
            self.features[0] = nn.Conv2d(in_chans, 64, kernel_size=11, stride=4, padding=2)
        self.num_classes, self.in_chans = num_classes, in_chans
        self.num_features, self.head_hidden_size = 256, 4096

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures [N, C, H, W] to responses [N, 256, h, w]."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map responses to logits [N, K], or to the last hidden layer [N, 4096]."""
        x = self.classifier[:6](self.avgpool(x).flatten(1))
        return x if pre_logits else self.classifier[6](x)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures [N, C, H, W] to logits [N, K]."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.classifier[6]

    def reset_classifier(self, num_classes: int) -> None:
        """Give the network a new last layer."""
        self.num_classes = num_classes
        self.classifier[6] = nn.Linear(4096, num_classes).to(next(self.parameters()).device)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Tell timm which parameters stand together, from low to high."""
        return {"blocks": r"^features\.(\d+)", "dense": r"^classifier\.(\d+)"}


@register_model
def alexnet(pretrained: bool = False, **options: Any) -> TimmAlexNet:
    """Make AlexNet as torchvision has it: 61,100,840 parameters for 1,000 classes."""
    return build_model_with_cfg(TimmAlexNet, "alexnet", pretrained, **options)
