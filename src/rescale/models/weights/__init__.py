"""Weights in and out: files, the layouts (names) of others, loading."""

from rescale.models.weights.load import Loaded, load_weights

__all__ = ["Loaded", "load_weights"]
