"""Methods that ask the network's gradient: the CAM family and integrated gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnaeus.verbs.explain.scale import heat_map

if TYPE_CHECKING:
    from linnaeus.verbs.explain.subject import Subject

STEPS = 20
"""Points of the path from the baseline, by Gauss-Legendre."""
PATH_AT_ONCE = 8


def grad_cam(subject: Subject, picture: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Weigh the channels of the feature map by the mean gradient of the class.

    Source:
        R. Selvaraju et al. (2017), ICCV, arXiv:1610.02391; as in J. Gildenblat's pytorch-grad-cam.
    """
    from pytorch_grad_cam import GradCAM

    return _cam(GradCAM, subject, picture, k)


def grad_cam_plus_plus(subject: Subject, picture: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Weigh the channels by their positive gradients, so that several things of one class all count.

    Source:
        A. Chattopadhyay et al. (2018), WACV, arXiv:1710.11063; as in pytorch-grad-cam.
    """
    from pytorch_grad_cam import GradCAMPlusPlus

    return _cam(GradCAMPlusPlus, subject, picture, k)


def layer_cam(subject: Subject, picture: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Weigh every place of every channel by its own positive gradient.

    Source:
        P.-T. Jiang et al. (2021), IEEE TIP 30, 5875-5888; as in pytorch-grad-cam.
    """
    from pytorch_grad_cam import LayerCAM

    return _cam(LayerCAM, subject, picture, k)


def integrated_gradients(subject: Subject, picture: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Add up the class's gradient along the way from the picture's mean colour to the picture.

    Signed; colours are added up, neighbouring pixels averaged, and what speaks against the class is cut.

    Source:
        M. Sundararajan et al. (2017), ICML, arXiv:1703.01365; as in captum. The baseline is the picture's mean colour
        instead of black, so that black pixels can count too.
    """
    from captum.attr import IntegratedGradients
    from scipy.ndimage import gaussian_filter

    x = subject.normalised(picture)
    blank = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    with torch.enable_grad():
        found = IntegratedGradients(subject.network).attribute(
            x, blank, target=k, n_steps=STEPS, internal_batch_size=PATH_AT_ONCE
        )
    signed = found.detach().sum(dim=1)[0].float().cpu().numpy()
    return heat_map(gaussian_filter(signed, max(0.5, subject.size_px / 60)), subject.size_px, top=0.998)


def _cam(method: Any, subject: Subject, picture: np.ndarray, k: int) -> np.ndarray:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    place = subject.feature_map
    # The weights are frozen: the input asks for the gradient, so that there is one at the feature map.
    x = subject.normalised(picture).detach().requires_grad_()
    with torch.enable_grad(), method(subject.in_one_view, [place.layer], reshape_transform=place.to_nchw) as cam:
        found = cam(x, [ClassifierOutputTarget(k)])[0]
    return heat_map(found, subject.size_px)
