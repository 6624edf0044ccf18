"""How well one colour stands out from another, as WCAG 2 defines it."""

import matplotlib as mpl
import numpy as np


def contrast(one, other):
    """Return the contrast, 1 to 21, of two colours as matplotlib takes them."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour):
    channels = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]
