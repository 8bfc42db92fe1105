"""Lengths and directions of vectors."""

import numpy as np

from bridge.geometry import unit_rows


def test_rows_get_unit_norm_and_those_that_are_rounding_become_zeros() -> None:
    rows = np.array([[3.0, 4.0], [3e-5, 4e-5], [0.0, 0.0]], np.float32)
    assert np.allclose(unit_rows(rows), [[0.6, 0.8], [0.6, 0.8], [0, 0]])
    assert np.allclose(unit_rows(rows, 1e-4), [[0.6, 0.8], [0, 0], [0, 0]])
    assert unit_rows(rows).dtype == np.float64
    assert np.allclose(unit_rows(rows[0]), [0.6, 0.8])


def test_a_row_that_is_no_number_is_not_taken_for_a_negligible_one() -> None:
    assert np.isnan(unit_rows(np.array([[np.nan, 1.0]]), 1e-4)).all()
