"""What a decoder remembers: append, reorder, truncate, and the end of the storage."""

import pytest
import torch

from formers.blocks.cache import Cache, LayerCache


def pair(rows, length, value=None):
    x = torch.randn(rows, 2, length, 3) if value is None else torch.full((rows, 2, length, 3), float(value))
    return x, -x


def test_append_gives_old_and_new():
    cache = LayerCache(5)
    first, second = pair(2, 3), pair(2, 2)
    assert torch.equal(cache.append(*first)[0], first[0])
    keys, values = cache.append(*second)
    assert torch.equal(keys, torch.cat([first[0], second[0]], 2))
    assert torch.equal(values, torch.cat([first[1], second[1]], 2))
    assert cache.length == 5 and torch.equal(cache.read()[0], keys)


def test_storage_is_made_once():
    cache = LayerCache(8)
    before = cache.append(*pair(1, 1))[0].data_ptr()
    for _ in range(7):
        assert cache.append(*pair(1, 1))[0].data_ptr() == before


def test_the_end_of_the_storage_is_named():
    cache = LayerCache(4)
    cache.append(*pair(1, 3))
    with pytest.raises(ValueError, match="cache holds 4 positions, got 5"):
        cache.append(*pair(1, 2))


def test_reorder_copies_rows_and_may_change_their_number():
    cache = LayerCache(4)
    first = pair(3, 2)
    cache.append(*first)
    rows = torch.tensor([2, 0, 0, 1, 2])
    cache.reorder(rows)
    assert torch.equal(cache.read()[0], first[0][rows]) and torch.equal(cache.read()[1], first[1][rows])
    more = pair(5, 2)
    assert torch.equal(cache.append(*more)[0], torch.cat([first[0][rows], more[0]], 2))
    LayerCache(3).reorder(rows)  # nothing remembered yet, nothing to do


def test_a_memory_is_filled_once():
    cache = LayerCache(memory=True)
    assert not cache.complete
    keys, values = pair(2, 6)
    cache.append(keys, values)
    assert cache.complete and torch.equal(cache.read()[0], keys)
    cache.reorder(torch.tensor([1]))
    assert torch.equal(cache.read()[1], values[1:])


def test_truncate_forgets_the_end():
    cache = Cache(2, 6)
    keep = torch.tensor([[False, True, True, True]])
    first, second = pair(1, 4), pair(1, 1)
    cache.extend_keep(keep, 1, 4, torch.device("cpu"))
    for own, read in (cache[0], cache[1]):
        assert read is None
        own.append(*first)
    assert cache.length == 4
    cache.truncate(9)
    assert cache.length == 4
    cache.truncate(2)
    assert cache.length == 2 and torch.equal(cache.keep, keep[:, :2])
    assert torch.equal(cache[1][0].append(*second)[0], torch.cat([first[0][:, :, :2], second[0]], 2))


def test_keep_starts_with_the_first_padding():
    cache, cpu = Cache(1, 8), torch.device("cpu")
    assert cache.extend_keep(None, 2, 3, cpu) is None
    cache[0][0].append(*pair(2, 3))
    new = torch.tensor([[True], [False]])
    assert cache.extend_keep(new, 2, 1, cpu).tolist() == [[True] * 4, [True, True, True, False]]
    cache[0][0].append(*pair(2, 1))
    assert cache.extend_keep(None, 2, 1, cpu)[1].tolist() == [True, True, True, False, True]


def test_reorder_moves_every_layer_and_what_is_real():
    memory, memory_keep = torch.randn(2, 5, 4), torch.tensor([[True] * 5, [True, True, False, False, False]])
    cache = Cache(2, 4, memory=memory, memory_keep=memory_keep)
    first = pair(4, 1)
    cache.extend_keep(torch.tensor([[True], [False], [True], [False]]), 4, 1, torch.device("cpu"))
    for own, read in (cache[0], cache[1]):
        own.append(*first)
        read.append(*pair(2, 5, value=1))
    cache.reorder(torch.tensor([3, 0]))
    assert torch.equal(cache[1][0].read()[0], first[0][[3, 0]])
    assert cache.keep.tolist() == [[False], [True]]
    cache.reorder_memory(torch.tensor([1]))
    assert torch.equal(cache.memory, memory[1:]) and torch.equal(cache.memory_keep, memory_keep[1:])
    assert cache[0][1].read()[0].shape[0] == 1


def test_reserve_makes_room_and_forgets_nothing():
    cache = Cache(2, 0)
    cache.reserve(3)
    first, second = pair(1, 3), pair(1, 4)
    for own in cache.own:
        own.append(*first)
    cache.reserve(2)
    assert cache.capacity == 3
    cache.reserve(7)
    for own in cache.own:
        assert torch.equal(own.append(*second)[0], torch.cat([first[0], second[0]], 2))
    cache.reserve(8)
    assert torch.equal(cache.own[1].read()[1], torch.cat([first[1], second[1]], 2))


def test_storage_grows_with_what_there_is():
    cache, seen = LayerCache(1000), []
    for i in range(1000):
        key, value = pair(1, 1, value=i)
        keys, values = cache.append(key, value)
        seen.append(cache.keys.shape[2])
        assert torch.equal(keys[:, :, -1:], key) and torch.equal(values[:, :, -1:], value)
    assert seen[0] < 50 and seen[-1] == 1000 and len(set(seen)) < 12  # so all is copied a few times only
    assert torch.equal(keys[0, 0, :, 0], torch.cat([pair(1, 1, value=i)[0] for i in range(1000)], 2)[0, 0, :, 0])


def test_rows_move_again_and_again_in_every_layer():
    cache, plain, generator = Cache(3, 40), [], torch.Generator().manual_seed(0)
    for _ in range(30):
        rows = len(plain[0][0]) if plain else 4
        news = [(torch.randn(rows, 2, 1, 3), torch.randn(rows, 2, 1, 3)) for _own in cache.own]
        seen = [own.append(*new) for own, new in zip(cache.own, news, strict=True)]
        plain = [
            tuple(torch.cat(parts, 2) for parts in zip(old, new, strict=True))
            for old, new in zip(plain or [(torch.empty(4, 2, 0, 3), torch.empty(4, 2, 0, 3))] * 3, news, strict=True)
        ]
        assert all(
            torch.equal(*both) for one, other in zip(seen, plain, strict=True) for both in zip(one, other, strict=True)
        )
        chosen = torch.randint(rows, (int(torch.randint(1, 6, (), generator=generator)),), generator=generator)
        cache.reorder(chosen)
        plain = [(keys[chosen], values[chosen]) for keys, values in plain]
