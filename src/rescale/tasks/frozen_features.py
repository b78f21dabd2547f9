"""Evaluate frozen features: nearest neighbours, and a linear classifier on top of them.

Features are the input of the model's classifier. Both evaluators first process all training samples, prepared
as in evaluation, and predict the classes of the data, whatever the model's outputs mean.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rescale.data import Batch
from rescale.errors import JobError
from rescale.models.head import features_of

if TYPE_CHECKING:
    from rescale.tasks.classification import Classification

NEIGHBOURS, TEMPERATURE = 20, 0.07  # Caron et al. 2021; Wu et al. 2018


class _FeatureEvaluator:
    """Percentage of samples that a classifier on the features assigns to the right class."""

    figure = ""
    uses_outputs = False

    def __init__(self, task: "Classification") -> None:
        self.task = task
        self.correct, self.count = 0, 0

    def features(self, model: nn.Module, batch: Batch) -> Tensor:
        """float32 [N, C] on the CPU."""
        return features_of(model, self.task.inputs(batch)).float().cpu()

    def training_features(
        self, model: nn.Module, train: Callable[[], Iterable[Batch]]
    ) -> tuple[Tensor, Tensor]:
        """Features [N, C] and labels [N] of the training data."""
        pairs = [(self.features(model, batch), batch.tensors["labels"].cpu()) for batch in train()]
        if not pairs:
            raise JobError("no training image to compare features with can be read")
        features, labels = zip(*pairs, strict=True)
        return torch.cat(features), torch.cat(labels)

    def predict(self, features: Tensor) -> Tensor:
        """int64 [N]: the classes of these features."""
        raise NotImplementedError

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Add one batch."""
        labels = batch.tensors["labels"].cpu()
        self.correct += int((self.predict(self.features(model, batch)) == labels).sum())
        self.count += batch.count

    def combine(self, gather: Callable[[Any], list[Any]]) -> None:
        """Sum the counts over all processes."""
        pairs = gather((self.correct, self.count))
        self.correct, self.count = (sum(column) for column in zip(*pairs, strict=True))

    def compute(self) -> dict[str, float]:
        """The figure in percent, and images."""
        if not self.count:
            raise JobError("no image to judge the model on can be read")
        return {self.figure: 100 * self.correct / self.count, "images": self.count}

    def predictions(self) -> dict[str, np.ndarray]:
        """Empty: no predictions are kept."""
        return {}


class NearestNeighbours(_FeatureEvaluator):
    """Vote of the 20 nearest training samples by cosine similarity s, each weighted by exp(s / 0.07)."""

    figure = "knn"

    def prepare(self, model: nn.Module, train: Callable[[], Iterable[Batch]]) -> None:
        """Keep the training data's features."""
        features, self.labels = self.training_features(model, train)
        self.reference = F.normalize(features)

    def predict(self, features: Tensor) -> Tensor:
        """The class with the most votes."""
        similarity = F.normalize(features) @ self.reference.T
        nearest = similarity.topk(min(NEIGHBOURS, len(self.reference)))
        votes = torch.zeros(len(features), int(self.labels.max()) + 1)
        weights = (nearest.values / TEMPERATURE).exp()
        return votes.scatter_add_(1, self.labels[nearest.indices], weights).argmax(1)


class LinearProbe(_FeatureEvaluator):
    """Multinomial logistic regression (scikit-learn's, L2 with C = 1) on standardised features."""

    figure = "linear"

    def prepare(self, model: nn.Module, train: Callable[[], Iterable[Batch]]) -> None:
        """Fit the classifier to the training data's features."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        features, labels = self.training_features(model, train)
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
        self.classifier = classifier.fit(features.numpy(), labels.numpy())

    def predict(self, features: Tensor) -> Tensor:
        """The most probable class."""
        return torch.from_numpy(self.classifier.predict(features.numpy()))
