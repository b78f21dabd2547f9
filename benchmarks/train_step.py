"""Is our training step faster, and smaller in memory, than timm's by its defaults and by its best flags?

Ours is the step that `rescale train` takes: normalise uint8 images, forward, backward, update, average of the
weights, top-1, the resnet-rs recipe; and once in fp32 without the average, which timm's defaults do not keep.
timm's is its train script's: label smoothing, Nesterov SGD, images normalised beforehand.
"""

from contest import run

if __name__ == "__main__":
    run(__file__, "train", str(__doc__))
