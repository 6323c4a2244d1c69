"""Filters with the fewest multiplications: Winograd's F(m, q), from the points of Toom and Cook.

A product of two polynomials is known from its values at as many points as it has coefficients: evaluate both, multiply,
interpolate. Transposed, that is a filter: ``m`` neighbours of the output of ``q`` taps take ``m + q - 1``
multiplications in place of ``m * q`` (Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, Fast
Algorithms for Convolutional Neural Networks, CVPR 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

# Small and of small inverse, which is what keeps rounding small; after them infinity, the leading coefficient.
POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(2))
MOST = len(POINTS) + 1  # multiplications; with more, single precision loses digits that a verdict would miss


@dataclass(frozen=True)
class Filter:
    """``output = from_products.T @ ((of_taps @ taps) * (of_inputs @ inputs))``, each row one multiplication."""

    of_inputs: np.ndarray
    """(products, m + q - 1), whole numbers."""
    of_taps: np.ndarray
    """(products, q)."""
    from_products: np.ndarray
    """(products, m), whole numbers."""


def minimal_filter(outputs: int, taps: int) -> Filter:
    """F(outputs, taps). Raises ValueError if it takes more than MOST multiplications."""
    if taps == 1:
        return Filter(np.eye(outputs), np.ones((outputs, 1)), np.eye(outputs))
    count = outputs + taps - 1
    if count > MOST:
        raise ValueError(f"received {count} multiplications; expected {MOST} or fewer")
    # rows: at each point 1, p, p^2, ...; at infinity the last
    values = _inverse_transposed(_powers(count, count))
    of_taps = _powers(count, taps)
    for row in range(count):
        # whole numbers for the pixels, which are many; the fractions go to the taps, which are computed once
        scale = math.lcm(*(value.denominator for value in values[row]))
        values[row] = [value * scale for value in values[row]]
        of_taps[row] = [value / scale for value in of_taps[row]]
    return Filter(*(np.array(rows, np.float64) for rows in (values, of_taps, _powers(count, outputs))))


def _powers(points: int, length: int) -> list[list[Fraction]]:
    finite = [[point**power for power in range(length)] for point in POINTS[: points - 1]]
    return [*finite, [Fraction(int(power == length - 1)) for power in range(length)]]


def _inverse_transposed(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Gauss and Jordan, without rounding."""
    size = len(matrix)
    rows = [[matrix[j][i] for j in range(size)] + [Fraction(int(i == j)) for j in range(size)] for i in range(size)]
    for place in range(size):
        pivot = next(row for row in range(place, size) if rows[row][place])
        rows[place], rows[pivot] = rows[pivot], rows[place]
        rows[place] = [value / rows[place][place] for value in rows[place]]
        for row in range(size):
            if row != place and (factor := rows[row][place]):
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[place], strict=True)]
    return [row[size:] for row in rows]
