"""Which cells a design has, beside other code of the same designs."""

from itertools import combinations

import pydoe
import pytest

from search_spaces.designs import DESIGNS, FACTORIAL, FRACTION, Design, aliases, cells

NAMES = "abcdef"


def of_signs(matrix, names) -> set[tuple[str, ...]]:
    return {tuple(name for name, sign in zip(names, row, strict=True) if sign > 0) for row in matrix}


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_a_factorial_is_pydoes(k):
    assert {(), *cells(FACTORIAL, NAMES[:k])} == of_signs(pydoe.ff2n(k), NAMES[:k])


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_a_fraction_is_pydoes_half_that_has_the_baseline(k):
    generator = ("-" if k % 2 else "") + NAMES[: k - 1]
    half = pydoe.fracfact(" ".join([*NAMES[: k - 1], generator]))
    assert {(), *cells(FRACTION, NAMES[:k])} == of_signs(half, NAMES[:k])


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_aliases_are_pydoes(k):
    # It compares columns without turning their sign, so the half whose aliases all have the same one is asked.
    half = pydoe.fracfact(" ".join([*NAMES[: k - 1], NAMES[: k - 1]]))
    theirs = {frozenset(line.split(" = ")) for line in pydoe.fracfact_aliasing(half)[0] if " = " in line}
    ours = {frozenset(line.replace(" × ", "").replace("−", "").split(" = ")) for line in aliases(NAMES[:k])}
    assert ours == theirs
    assert all(("−" in line) == (k % 2 == 1) for line in aliases(NAMES[:k]))


@pytest.mark.parametrize("k", [3, 4, 5])
def test_an_alias_has_the_column_that_it_says(k):
    every = [(), *cells(FRACTION, NAMES[:k])]

    def column(effect: str) -> list[int]:
        sign, names = (-1, effect[1:]) if effect.startswith("−") else (1, effect)
        return [sign * (-1) ** sum(name not in cell for name in names.split(" × ")) for cell in every]

    for line in aliases(NAMES[:k]):
        one, other = line.split(" = ")
        assert column(one) == column(other)


def test_leave_one_out_has_all_and_all_but_one():
    assert cells("leave-one-out", "abc") == [("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]


def test_cells_come_by_their_number_and_once():
    for design in DESIGNS:
        found = cells(design, NAMES)
        assert found == sorted(set(found), key=lambda cell: (len(cell), cell))
        assert set(found) <= {cell for n in range(1, 7) for cell in combinations(NAMES, n)}


def test_a_design_tells_how_many_cells_it_has_and_what_it_cannot_tell_apart():
    assert Design(FACTORIAL, ("a", "b")).told == ["design factorial: 4 cells of a, b, the baseline among them"]
    told = Design(FRACTION, ("a", "b", "c")).told
    assert told[0] == "design fraction: 4 cells of a, b, c, the baseline among them"
    assert told[1:] == ["aliased: a = −b × c", "aliased: b = −a × c", "aliased: c = −a × b"]
    assert Design("one-at-a-time", ("a",), ("a+b",)).told == ["together too: a+b"]
