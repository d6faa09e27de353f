"""The rules of comparison themselves: what they let pass, and which cases they choose."""

import itertools

import pytest
import torch

from tests.support import parity


def test_any_two_values_meet_in_one_of_few_cases():
    axes = ["abcdef", "xyz", [(0, True), (2, False), (3, True), (6, True)], [5, 64, 256]]
    cases = parity.pairwise(*axes, among=[("b", "x", (3, True), 64)])
    assert cases[0] == ("b", "x", (3, True), 64) and len(cases) <= 30 < 6 * 3 * 4 * 3
    for (i, one), (j, other) in itertools.combinations(enumerate(axes), 2):
        assert {(case[i], case[j]) for case in cases} == set(itertools.product(one, other))
    assert cases == parity.pairwise(*axes, among=cases[:1])


def test_sums_in_another_order_pass_and_a_missing_addend_does_not():
    addends = torch.randn(200, 50)
    sums, sizes = addends.sum(0), addends.abs().sum(0)
    parity.assert_same_sums("sums", addends.flip(0).cumsum(0)[-1], sums, sizes, 200)
    with pytest.raises(AssertionError, match="sums: .* more apart than another order of 200"):
        parity.assert_same_sums("sums", addends[1:].sum(0), sums, sizes, 200)
