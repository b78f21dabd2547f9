"""Is our inference faster than timm's, eager and compiled?

Our batch norms are folded and our weights cast once; timm's model runs as in its validation script.
"""

from contest import run

if __name__ == "__main__":
    run(__file__, "infer", str(__doc__))
