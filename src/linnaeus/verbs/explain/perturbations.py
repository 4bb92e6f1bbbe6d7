"""Methods that hide parts of the picture and watch the answer: occlusion, LIME, SHAP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnaeus.verbs.explain.scale import heat_map

if TYPE_CHECKING:
    from linnaeus.verbs.explain.subject import Subject

WINDOWS = 7
"""The hiding window is a 7th of the picture's side; it moves by half of itself."""
PIECES = 60
"""Superpixels for LIME."""
SAMPLES = 300
"""Pictures with random superpixels hidden, for LIME."""
CELLS = 16
"""Cells of SHAP's grid from side to side."""
EVALUATIONS = 400
AT_ONCE = 32


def occlusion(subject: Subject, picture: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Slide a window of the mean colour over the picture; heat is the drop of the class's log probability.

    Signed; what raises the probability when hidden is cut. The logarithm keeps the differences where the network is so
    sure that its probability hardly moves.

    Source:
        M. Zeiler, R. Fergus (2014), ECCV, arXiv:1311.2901; as in captum.
    """
    from captum.attr import Occlusion

    x = subject.normalised(picture)
    C, S = x.shape[1], subject.size_px
    window = max(2, S // WINDOWS)
    step = max(1, window // 2)
    blank = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    with torch.no_grad():
        found = Occlusion(lambda inputs: torch.log_softmax(subject.network(inputs).float(), dim=1)).attribute(
            x, (C, window, window), (C, step, step), blank, target=k, perturbations_per_eval=AT_ONCE
        )
    return heat_map(found[0, 0].float().cpu().numpy(), S)


def lime(subject: Subject, picture: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Hide random superpixels and fit a linear model to the answers; heat is the weight of each superpixel.

    Signed; superpixels with negative weight are cut. The map depends on the seed.

    Source:
        M. Ribeiro et al. (2016), KDD, arXiv:1602.04938; as in lime. Superpixels are SLIC's (R. Achanta et al. 2012),
        and a hidden one takes the picture's mean colour instead of its own, which would hide nothing of a petal.
    """
    from lime.lime_image import LimeImageExplainer
    from skimage.segmentation import slic

    class Quiet(LimeImageExplainer):
        """Draw all pictures at once, without a progress bar."""

        def data_labels(
            self, image: Any, fudged_image: Any, segments: Any, classifier_fn: Any, num_samples: int, **_: Any
        ) -> tuple[np.ndarray, np.ndarray]:
            shown = self.random_state.randint(0, 2, (num_samples, int(segments.max()) + 1))
            shown[0] = 1
            answers = [
                classifier_fn(np.where((part != 0)[:, segments, None], image, fudged_image))
                for part in np.array_split(shown, -(-num_samples // AT_ONCE))
            ]
            return shown, np.concatenate(answers)

    def pieces(image: np.ndarray) -> np.ndarray:
        # Smoothed a little and kept compact: on noise, SLIC's default leaves a few ragged pieces.
        found = slic(image, n_segments=PIECES, compactness=20, sigma=image.shape[0] / 128, start_label=0)
        return np.unique(found, return_inverse=True)[1].reshape(found.shape)

    C = picture.shape[2]
    fitted = Quiet(random_state=seed).explain_instance(
        np.repeat(picture, 3, axis=2) if C == 1 else picture,
        lambda pictures: subject.probabilities(np.ascontiguousarray(pictures[..., :C])),
        labels=(k,),
        top_labels=None,
        hide_color=np.rint(picture.mean(axis=(0, 1))).astype(np.uint8),
        num_samples=SAMPLES,
        segmentation_fn=pieces,
        random_seed=seed,
    )
    weights = np.zeros(int(fitted.segments.max()) + 1)
    for piece, weight in fitted.local_exp[k]:
        weights[piece] = weight
    return heat_map(weights[fitted.segments], subject.size_px)


def shap(subject: Subject, picture: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Share the class's probability out among the cells of a grid by Owen values, a fast kind of Shapley values.

    Signed; cells with negative value are cut. A hidden cell shows the blurred picture.

    Source:
        S. Lundberg, S.-I. Lee (2017), NeurIPS, arXiv:1705.07874; shap's partition explainer, on a grid instead of single
        pixels, which does not grow with the picture.
    """
    from shap import PartitionExplainer
    from shap.maskers import Image as Grid

    S = subject.size_px
    cells = min(CELLS, S)
    cell_of = np.arange(S) * cells // S
    hidden = blurred(picture)

    def answer(shown: np.ndarray) -> np.ndarray:
        whole = shown.reshape(-1, cells, cells)[:, cell_of][:, :, cell_of, None] > 0.5
        return subject.probabilities(np.where(whole, picture, hidden))[:, k]

    explainer = PartitionExplainer(answer, Grid(np.zeros((cells, cells, 1))))
    found = explainer(np.ones((1, cells, cells, 1)), max_evals=EVALUATIONS, batch_size=AT_ONCE, silent=True)
    return heat_map(found.values.reshape(cells, cells), S)


def blurred(picture: np.ndarray) -> np.ndarray:
    """Blur a picture until only its large colours are left, uint8 [S, S, C]."""
    from scipy.ndimage import gaussian_filter

    # A twentieth of a few pixels would leave small pictures sharp.
    sigma = max(2, picture.shape[0] / 20)
    return np.rint(gaussian_filter(picture.astype(np.float32), (sigma, sigma, 0))).astype(np.uint8)
