"""Families of networks: from a name, a file or a mapping to a Network."""

from rescale.families.lookup import FAMILIES, OTHERS, by_family, names, network

__all__ = ["FAMILIES", "OTHERS", "by_family", "names", "network"]
