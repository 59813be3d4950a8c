"""The fault checker: no revocation is accepted after its bound, whatever happens to processes, stores and networks.

Scenes (`scenes`) are played by real processes (`worker`) over a real store (`stores`) with a proxy (`proxy`) or a
cable (`network`) between them; what they answered is judged (`judge`). So that it is known to be able to find
something, each mistake that the view must not make (`bugs`) is made on purpose, and has to be found.

`python -m tests.faults` plays everything for as long as it takes, and measures.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # what all tests use
