"""Where a token stands: the published formulas, number by number."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from formers.blocks.embedding import embed
from formers.blocks.position import Learned, RelativeBias, Rotary, Sinusoidal, sinusoids


def test_the_table_of_the_lecture():
    columns = [  # d = 5: one row per dimension, one number per position 0..4
        [0, 0.841, 0.909, 0.141, -0.757],
        [1, 0.540, -0.416, -0.990, -0.654],
        [0, 0.025, 0.050, 0.075, 0.100],
        [1, 1.000, 0.999, 0.997, 0.995],
        [0, 0.001, 0.001, 0.002, 0.003],
    ]
    torch.testing.assert_close(sinusoids(5, 5).T, torch.tensor(columns), atol=5.1e-4, rtol=0)


@pytest.mark.parametrize("dim", [1, 2, 3, 8, 13])
def test_the_formula(dim):
    table = sinusoids(20, dim)
    assert table.shape == (20, dim)
    for position in range(20):
        for i in range(dim):
            angle = position / 10000 ** (2 * (i // 2) / dim)
            expected = math.sin(angle) if i % 2 == 0 else math.cos(angle)
            assert table[position, i].item() == pytest.approx(expected, abs=1e-6)


def test_bounded_and_unique():
    table = sinusoids(1000, 16)
    assert table.abs().max() <= 1
    assert torch.pdist(table).min() > 1e-2


@pytest.mark.parametrize("dim", [1, 2, 5, 8])
def test_split_holds_the_same_numbers_in_another_order(dim):
    order = [*range(0, dim, 2), *range(1, dim, 2)]
    assert torch.equal(sinusoids(30, dim, split=True), sinusoids(30, dim)[:, order])


def test_one_unitary_step_leads_from_each_position_to_the_next():
    dim = 8
    step = torch.zeros(dim, dim, dtype=torch.float64)
    for i in range(0, dim, 2):
        angle = 10000 ** (-i / dim)
        step[i : i + 2, i : i + 2] = torch.tensor(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64
        )
    torch.testing.assert_close(step @ step.T, torch.eye(dim, dtype=torch.float64))
    table = sinusoids(200, dim).double()
    for further in (1, 2, 17, 100):
        moved = table[:100] @ torch.linalg.matrix_power(step, further).T
        torch.testing.assert_close(moved, table[further : further + 100], atol=1e-6, rtol=0)


def test_sinusoidal_module_has_nothing_to_save_and_no_longest_length():
    positions, like = Sinusoidal(6), torch.zeros(1)
    assert not positions.state_dict() and not list(positions.parameters())
    torch.testing.assert_close(positions(3, 4, like), sinusoids(7, 6)[3:])
    torch.testing.assert_close(positions(2000, 1, like), sinusoids(2001, 6)[2000:])
    assert positions(0, 2, like.bfloat16()).dtype == torch.bfloat16


def test_learned_positions_count_from_the_offset():
    positions, like = Learned(10, 4, offset=2), torch.zeros(1)
    assert positions.weight.shape == (12, 4)
    assert torch.equal(positions(0, 10, like), positions.weight[2:])
    assert torch.equal(positions(7, 1, like), positions.weight[9:10])


@pytest.mark.parametrize(("start", "length"), [(0, 11), (10, 1), (5, 6)])
def test_learned_positions_end(start, length):
    with pytest.raises(ValueError, match="sequence of 11 positions, but this model has learned 10"):
        Learned(10, 4)(start, length, torch.zeros(1))


def test_an_embedding_is_the_sum_of_token_position_and_segment():
    table, tokens, segments = torch.nn.Embedding(9, 6), torch.tensor([[1, 2, 3]]), torch.randn(1, 3, 6)
    x = embed(tokens, table, Sinusoidal(6), scale=2.0, start=4, segments=segments)
    torch.testing.assert_close(x, 2 * table.weight[1:4][None] + sinusoids(7, 6)[4:] + segments)


# Rotary


def test_rotary_turns_pairs_by_position_times_frequency():
    x = torch.randn(1, 1, 7, 8)
    turned = Rotary(8).at(0, 7, x)(x)
    for position in range(7):
        for i in range(4):
            angle = position * 10000 ** (-2 * i / 8)
            pair = torch.complex(x[0, 0, position, i], x[0, 0, position, i + 4])
            expected = pair * torch.exp(torch.tensor(1j * angle))
            found = torch.complex(turned[0, 0, position, i], turned[0, 0, position, i + 4])
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@given(start=st.integers(0, 1000), length=st.integers(1, 6), half=st.integers(1, 8))
def test_rotary_keeps_norms(start, length, half):
    x = torch.randn(2, 3, length, 2 * half)
    torch.testing.assert_close(Rotary(2 * half).at(start, length, x)(x).norm(dim=-1), x.norm(dim=-1))


@given(shift=st.integers(0, 500), seed=st.integers(0, 10))
def test_rotary_scores_depend_on_differences_only(shift, seed):
    torch.manual_seed(seed)
    q, k, rotary = torch.randn(1, 2, 5, 16), torch.randn(1, 2, 5, 16), Rotary(16)
    here, there = rotary.at(0, 5, q), rotary.at(shift, 5, q)
    torch.testing.assert_close(
        here(q) @ here(k).mT, there(q) @ there(k).mT, atol=2e-3, rtol=1e-3
    )  # angles of a few hundred radians have about four decimals in fp32


def test_rotary_is_the_power_of_one_unitary_step():
    rotary, identity = Rotary(8), torch.eye(8)[None, None]
    step = rotary.at(1, 1, identity)(identity)[0, 0].T
    torch.testing.assert_close(step @ step.T, torch.eye(8))
    x = torch.randn(1, 1, 1, 8)
    for position, further in [(0, 1), (3, 4), (20, 30)]:
        later = rotary.at(position + further, 1, x)(x)
        moved = rotary.at(position, 1, x)(x) @ torch.linalg.matrix_power(step, further).T
        torch.testing.assert_close(later, moved, atol=1e-5, rtol=1e-5)


# T5's relative bias


def slow_bucket(relative, buckets, distance, causal):
    """Raffel et al. 2020, 2.1, and its footnotes, one number at a time."""
    number = 0
    if causal:
        away = max(-relative, 0)
    else:
        buckets //= 2
        number = buckets if relative > 0 else 0
        away = abs(relative)
    exact = buckets // 2
    if away < exact:
        return number + away
    share = math.log(away / exact) / math.log(distance / exact)
    return number + min(exact + int(share * (buckets - exact) + 1e-6), buckets - 1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (16, 20), (8, 200)])
def test_relative_buckets(buckets, distance, causal):
    bias = RelativeBias(1, buckets=buckets, distance=distance, causal=causal)
    relative = range(-300, 301)
    expected = [slow_bucket(r, buckets, distance, causal) for r in relative]
    assert bias.bucket(torch.tensor(relative)).tolist() == expected


def test_relative_bias_of_the_last_queries_is_the_end_of_the_whole():
    bias = RelativeBias(3)
    whole = bias(9, 9)
    assert whole.shape == (1, 3, 9, 9)
    assert torch.equal(bias(2, 9), whole[:, :, -2:])
    assert torch.equal(whole[0, :, 4, 6], bias.weight[16 + 2])  # two to the right
    assert torch.equal(whole[0, :, 6, 4], bias.weight[2])  # two to the left
