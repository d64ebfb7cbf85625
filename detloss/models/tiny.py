"""The backbone `tiny`, half a million weights, for small images."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation

ANCHORS = ((12, 20, 32, 48),), ((0.6, 1.0, 1.7),)
"""Sizes and aspect ratios for objects of 10 to 60 pixels."""
POOLED = 5
"""Cells on a side of a pooled region, with a sample each: more would take most of a step on a CPU."""
HIDDEN = 128
"""Width of the box head."""


class TinyBackbone(nn.Module):
    """Four stages of convolutions, joined to one map of stride 8.

    Args:
        norm: The normalization after each convolution.
    """

    out_channels = 64

    def __init__(self, norm: Callable[..., nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        channels = (3, 16, 48, 64, 96)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    Conv2dNormActivation(
                        channels[stage] if layer == 0 else channels[stage + 1],
                        channels[stage + 1],
                        stride=2 if layer == 0 else 1,
                        norm_layer=norm,
                    )
                    for layer in range(layers)
                )
            )
            for stage, layers in enumerate((1, 2, 2, 2))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, self.out_channels, 1) for width in channels[3:])

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` images to ``(N, 64, H / 8, W / 8)`` features, rounded up."""
        # Written out for TorchScript.
        fine = self.stages[2](self.stages[1](self.stages[0](images)))
        coarse = self.lateral[1](self.stages[3](fine))
        joined: Tensor = self.lateral[0](fine) + functional.interpolate(coarse, size=fine.shape[-2:])
        return joined
