"""Is our training step faster, and smaller in memory, than timm's by its defaults and by its best flags?

Our step is that of `rescale train`: normalise uint8 images, forward, backward, update, weight average, top-1,
with the resnet-rs recipe; it is also timed in fp32 without the weight average, which timm does not keep by
default. timm's step is that of its train script: label smoothing, Nesterov SGD, images normalised beforehand.
"""

from contest import run

if __name__ == "__main__":
    run(__file__, "train", str(__doc__))
