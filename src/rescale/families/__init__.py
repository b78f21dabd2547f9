"""Families of networks: from a name to a Network. A family is a module with names() and from_name()."""

from rescale.families import efficientnet, regnet, resnet, resnext

FAMILIES = {"resnet": resnet, "resnext": resnext, "efficientnet": efficientnet, "regnet": regnet}
