"""From pictures to sequences: square pieces as vectors, and the positions of a grid, read at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.position import Turn


def grid_of(size: Sequence[int], patch: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of patches in a picture (height, width). Raises ValueError for a size that they do not fill."""
    (height, width), (tall, wide) = size, patch
    if height % tall or width % wide or not height or not width:
        near = f"{max(1, height // tall) * tall} x {max(1, width // wide) * wide}"
        raise ValueError(
            f"a picture of {height} x {width} is not filled by patches of {tall} x {wide}; resize it, "
            f"for example to {near}"
        )
    return height // tall, width // wide


class Patches(nn.Module):
    """(batch, channels, height, width) -> (batch, rows * columns, dim), row by row; the pieces of one map."""

    def __init__(
        self,
        channels: int,
        dim: int,
        patch: tuple[int, int],
        *,
        stride: tuple[int, int] | None = None,
        bias: bool = True,
    ) -> None:
        """patch: height and width of a piece; stride: from one to the next, where they overlap."""
        super().__init__()
        self.patch, self.stride = patch, stride
        self.project = nn.Conv2d(channels, dim, patch, stride=stride or patch, bias=bias)

    def forward(self, pictures: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch patches dim"]:
        tall, wide = self.patch
        # as one product of matrices: on a CPU about twice as fast as the convolution that it is
        if self.stride is None:
            rows, columns = grid_of(pictures.shape[-2:], self.patch)
            pieces = pictures.unflatten(-2, (rows, tall)).unflatten(-1, (columns, wide)).permute(0, 2, 4, 1, 3, 5)
        else:
            pieces = pictures.unfold(-2, tall, self.stride[0]).unfold(-2, wide, self.stride[1])
            pieces = pieces.permute(0, 2, 3, 1, 4, 5)
        return F.linear(pieces.flatten(3).flatten(1, 2), self.project.weight.flatten(1), self.project.bias)


class GridPositions(nn.Module):
    """A learned vector for each place of a grid, after those of `extra` tokens in front of it.

    A grid of another size reads them between its points (bicubic; `antialias`: smoothed where it is coarser).
    `centred`: along a side that is shorter it takes those in the middle, along a longer one it reads between (AST).
    Source: Dosovitskiy et al. 2021, 3.2; Gong et al. 2021, 2.2.
    """

    def __init__(
        self, grid: tuple[int, int], dim: int, *, extra: int = 0, antialias: bool = False, centred: bool = False
    ) -> None:
        super().__init__()
        self.grid, self.extra, self.antialias, self.centred = grid, extra, antialias, centred
        self.weight = nn.Parameter(torch.empty(extra + grid[0] * grid[1], dim))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, grid: tuple[int, int]) -> Float[Tensor, "positions dim"]:
        """The vectors of the tokens in front, then those of the grid, row by row."""
        if grid == self.grid:
            return self.weight
        learned = self.weight[self.extra :].T.reshape(1, -1, *self.grid).float()
        if self.centred:
            for side, (have, want) in enumerate(zip(self.grid, grid, strict=True), 2):
                if want < have:
                    learned = learned.narrow(side, have // 2 - want // 2, want)
            places = F.interpolate(learned, grid, mode="bilinear", align_corners=False)
        else:
            places = F.interpolate(learned, grid, mode="bicubic", align_corners=False, antialias=self.antialias)
        return torch.cat([self.weight[: self.extra], places[0].flatten(1).T.to(self.weight.dtype)])


class GridRotary(nn.Module):
    """Turns each pair of features by the height, or the width, of a patch's middle in the picture, from -1 to 1.

    The first quarter of the features and the third turn by height. Source: Simeoni et al. 2025 (DINOv3), 3.2.
    """

    def __init__(self, head_dim: int, *, base: float = 100.0) -> None:
        super().__init__()
        if head_dim % 4:
            raise ValueError(f"head_dim ({head_dim}) must be a multiple of 4, for pairs of two directions")
        self.head_dim, self.base = head_dim, base

    def forward(self, grid: tuple[int, int], like: Tensor, *, leading: int = 0) -> Turn:
        """The rotation of all tokens, of which the `leading` ones before the patches are not turned."""
        rows, columns = (2 * (torch.arange(count, device=like.device) + 0.5) / count - 1 for count in grid)
        places = torch.stack([rows.repeat_interleave(grid[1]), columns.repeat(grid[0])], 1)
        exponent = torch.arange(0, 1, 4 / self.head_dim, device=like.device)
        angle = F.pad((2 * math.pi * places[..., None] / self.base**exponent).flatten(1), (0, 0, leading, 0))
        cos, sin = angle.cos(), angle.sin()
        return Turn(torch.cat([cos, cos], 1).to(like.dtype), torch.cat([-sin, sin], 1).to(like.dtype))
