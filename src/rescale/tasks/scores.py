"""Scores of single samples, whose mean is the headline figure: studies compare networks by them."""

from collections.abc import Mapping

import numpy as np

SCORE = "score"  # a column of an evaluator's predictions


def scores_of(predictions: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The score of each sample in a table of predictions; None if the headline figure is no mean of scores.

    Args:
        predictions: columns by name. Tables of classification that were written before there was a column of
            scores have `target` and `top`.

    Returns:
        float64 [N], in the unit of the headline figure.
    """
    if SCORE in predictions:
        return np.asarray(predictions[SCORE], dtype=np.float64)
    if {"target", "top"} <= predictions.keys():
        return first_is_right(predictions["target"], predictions["top"])
    return None


def first_is_right(target: np.ndarray, top: np.ndarray) -> np.ndarray:
    """100 for each image whose class is the most probable one, else 0.

    Args:
        target: int [N], classes.
        top: int [N, K], the most probable classes, best first.
    """
    return 100.0 * (np.asarray(top)[:, 0] == np.asarray(target))
