"""Write `rows.npz`: bitmaps as clients send them, and the digits that they expect."""

import sys

import numpy as np
from sklearn.datasets import load_digits


def main(path: str) -> None:
    """Draw each block of scikit-learn's digits with as many pixels as it counts."""
    counts, digits = load_digits(return_X_y=True)
    # The model recognizes every one of them.
    rows = slice(-100, -40)
    blocks = np.arange(16) < counts[rows].reshape(-1, 8, 8, 1)
    bitmap = blocks.reshape(-1, 8, 8, 4, 4).swapaxes(2, 3).reshape(-1, 32, 32)
    np.savez(path, bitmap=bitmap.astype(np.uint8), digit=digits[rows].astype(str))


if __name__ == "__main__":
    main(sys.argv[1])
