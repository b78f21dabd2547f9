"""python -m rescale"""

from rescale.cli import main

main()
