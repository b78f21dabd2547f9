"""Loading and exporting weights: file formats, and the tensor names of other libraries."""

from rescale.models.weights.load import Loaded, load_weights

__all__ = ["Loaded", "load_weights"]
