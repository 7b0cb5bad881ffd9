"""Fuse a generated image with the original: generated where the model attended, original elsewhere.

This is ObjectClear's last step (papers.md, fact 19). The paper states its lengths for images with a short
side of 512 px. ``FusionLengths.at`` scales them. ``docs/development/decisions/0040-removal.md`` gives the
reason for the second form.
"""

from dataclasses import dataclass
from typing import Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Alpha, Mask, RgbImage

FusionForm = Literal["banded", "paper"]
"""``paper``: outside the weight the whole image takes the low frequencies of the generated one (fact 19).
``banded``: only a band around the weight does. They are means of what lies outside, and fade to 0."""

Change = NDArray[np.float32]
"""H×W×3 float32, [-255, 255] grey levels to add to the original."""

ATTENTION_THRESHOLD = 0.5
"""Threshold on the attention map after it is scaled to 0..1 (fact 19)."""
_STATED_FOR_PX = 512
_MIN_FRACTION = 1e-3
"""If less than this fraction of a neighbourhood lies outside the weight, its colours are unknown."""


@dataclass(frozen=True, slots=True)
class FusionLengths:
    """The lengths of fact 19 in pixels, for a short side of 512."""

    dilation_px: int = 10
    """Radius of the ellipse, which is 21 px across."""
    blur_px: int = 4
    """Radius of the Gaussian kernel, which is 9 px across."""
    blur_sigma_px: float = 2.0
    low_px: int = 32
    """Half the base of the low-pass filter: 2 to the number of à-trous levels. There are 5."""
    band_px: int = 32
    """How far the ``banded`` form reaches beyond the weight. NOT PUBLISHED: equal to the reach of the low-
    pass."""

    @classmethod
    def at(cls, short_side_px: int) -> Self:
        """The lengths for another short side: the same fractions of the image, at least one pixel."""
        scale = short_side_px / _STATED_FOR_PX
        plain = cls()
        return cls(
            dilation_px=max(1, round(plain.dilation_px * scale)),
            blur_px=max(1, round(plain.blur_px * scale)),
            blur_sigma_px=plain.blur_sigma_px * scale,
            low_px=max(1, round(plain.low_px * scale)),
            band_px=max(1, round(plain.band_px * scale)),
        )


def scaled_attention(attention: NDArray[np.float32]) -> Alpha:
    """Average the object token's attention over heads, and scale it to its own range: minimum 0, maximum 1.

    Args:
        attention: heads×h×w float32, probabilities.

    Returns:
        h×w float32, [0, 1]. All 0 if the attention is the same everywhere.
    """
    mean = attention.mean(axis=0, dtype=np.float32)
    mean -= mean.min()
    maximum = mean.max()
    return mean / maximum if maximum > 0 else mean


def attended_region(attention: Alpha, height: int, width: int) -> Mask:
    """Where a scaled map exceeds the threshold, enlarged to height × width by nearest neighbour.

    Args:
        attention: h×w float32, [0, 1], from ``scaled_attention``.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        height×width bool.
    """
    above = (attention > ATTENTION_THRESHOLD).astype(np.uint8)
    return cv2.resize(above, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0


def blend_weight(region: Mask, lengths: FusionLengths) -> Alpha:
    """The weight of the generated image: the region, dilated and blurred, but exactly 1 inside the region.

    Args:
        region: H×W bool.
        lengths: The lengths for the image's size.

    Returns:
        H×W float32, [0, 1].
    """
    weight = np.zeros(region.shape, np.float32)
    reach = lengths.dilation_px + lengths.blur_px + 1
    box = _box_about(region, reach)
    if box is None:
        return weight
    inside = region[box].astype(np.uint8)
    side = 2 * lengths.dilation_px + 1
    wide = cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    side = 2 * lengths.blur_px + 1
    soft = cv2.GaussianBlur(
        wide.astype(np.float32), (side, side), lengths.blur_sigma_px, borderType=cv2.BORDER_REFLECT
    )
    np.maximum(soft, inside, out=weight[box])
    return weight


def fused_change(
    source: RgbImage,
    generated: RgbImage,
    weight: Alpha,
    lengths: FusionLengths,
    form: FusionForm = "banded",
) -> Change:
    """The change that fusion adds to the original.

    Let d = generated − source, and L(d) its low frequencies. Fact 19 then reads
    source + weight·d + (1 − weight)·L(d): the original's high frequencies on the generated low ones.

    Args:
        source: H×W×3 uint8.
        generated: H×W×3 uint8.
        weight: H×W float32, [0, 1], from ``blend_weight``.
        lengths: The lengths for the image's size.
        form: See ``FusionForm``. With ``banded`` the change is exactly 0 from ``band_px`` beyond the weight
            on.

    Returns:
        H×W×3 float32, grey levels.
    """
    if form == "paper":
        difference = _difference(generated, source)
        change = low_frequencies(difference, lengths.low_px)
        box = _box_about(weight > 0, 0)
        if box is not None:
            change[box] += weight[box][..., None] * (difference[box] - change[box])
        return change
    change = np.zeros(source.shape, np.float32)
    box = _box_about(weight > 0, lengths.band_px + lengths.low_px)
    if box is not None:
        change[box] = _banded_change(_difference(generated[box], source[box]), weight[box], lengths)
    return change


def add_change(source: RgbImage, change: Change) -> RgbImage:
    """Add a change to an image, round and clip.

    Returns:
        H×W×3 uint8. Pixels with a change of 0 are exactly the original's.
    """
    return np.asarray(cv2.add(source, change, dtype=cv2.CV_8U), np.uint8)


def low_frequencies(values: NDArray[np.float32], half_base_px: int) -> NDArray[np.float32]:
    """The low frequencies that an à-trous decomposition leaves, in one filter.

    The decomposition filters with (1, 2, 1)/4 at spacings 1, 2, 4 … 2^(n−1) along rows and columns. This
    equals one filter with a triangle of half base 2^n, because ∏(1 + z^(2^j)) = 1 + z + … + z^(2^n − 1).
    Borders are mirrored. These filters preserve the mirror symmetry, so the two agree at borders too.

    Args:
        values: H×W or H×W×C float32.
        half_base_px: 2^n for n levels. Any whole number ≥ 1 gives the triangle.

    Returns:
        Float32 of the same shape.
    """
    pad = half_base_px - 1
    framed = cv2.copyMakeBorder(values, pad, pad, pad, pad, cv2.BORDER_REFLECT)
    blurred = cv2.stackBlur(framed, (2 * pad + 1, 2 * pad + 1)) if pad else framed
    height, width = values.shape[:2]
    return np.asarray(blurred[pad : pad + height, pad : pad + width], np.float32)


def _difference(generated: RgbImage, source: RgbImage) -> Change:
    return np.asarray(cv2.subtract(generated, source, dtype=cv2.CV_32F), np.float32)


def _banded_change(difference: Change, weight: Alpha, lengths: FusionLengths) -> Change:
    """Compute the ``banded`` form on one box.

    The low frequencies are means over pixels outside the weight only. Otherwise the removed object would show
    as a halo of the opposite colour.
    """
    outside = 1 - weight
    outside_low = low_frequencies(outside, lengths.low_px)
    low = low_frequencies(difference * outside[..., None], lengths.low_px)
    distance = cv2.distanceTransform((weight == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    fade = np.clip(1 - distance / lengths.band_px, 0, 1)
    low_fraction = np.where(
        outside_low > _MIN_FRACTION, outside * fade / np.maximum(outside_low, _MIN_FRACTION), 0
    )
    return weight[..., None] * difference + low_fraction[..., None] * low


def _box_about(region: Mask, margin_px: int) -> tuple[slice, slice] | None:
    """Rows and columns of a region with a margin, inside the image. None if the region is empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not len(rows):
        return None
    return (
        slice(max(0, rows[0] - margin_px), rows[-1] + 1 + margin_px),
        slice(max(0, columns[0] - margin_px), columns[-1] + 1 + margin_px),
    )
