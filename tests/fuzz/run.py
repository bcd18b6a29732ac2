"""Changes files at random and reads them, see cases.py.

python tests/fuzz/run.py --cases 10000 --seed 1      python tests/fuzz/run.py --seed 1 --case 37
"""

import os
import sys
from pathlib import Path


def start() -> int:
    """With one thread in every library, without a network, and with this checkout before an installed package."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "NUMBA_DISABLE_JIT": "1"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from cases import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
