"""Is our inference faster than timm's, eager and compiled?

Ours has its batch norms folded and its weights cast once; timm's runs as its validation script runs it.
"""

from contest import run

if __name__ == "__main__":
    run(__file__, "infer", str(__doc__))
