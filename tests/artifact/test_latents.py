"""gantool.artifact.latents: exact numbers, independence of the batch, statistics at fixed seeds (so none is flaky)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantool.artifact import latents
from gantool.errors import GantoolError

SEEDS = st.integers(-(2**63), 2**63 - 1)
INDEXES = st.integers(0, latents.MAX_INDEX - 1)
M64 = 2**64 - 1

GOLDEN_KEYS = {
    0: 0x8352D815D8FC0AEF,
    1: 0x4D645C7151EB5A43,
    -1: 0x89D8C127F9A6762B,
    42: 0xC6DF7DFD1E0697D9,
    9223372036854775807: 0x342F26F96C5BDE87,
    -9223372036854775808: 0x0BB1AB462633B3B1,
}
GOLDEN_INTEGERS = {  # index 0, 1 and 2**47 - 1
    0: [[0x9792D528, 0x1C20901B], [0xD599AB49, 0x0CA79ECC], [0xC8A0A518, 0x711F278E]],
    1: [[0x88F2E23B, 0xD1FE835E], [0x7B6D66F9, 0x63E05231], [0xAED71D6B, 0x2D29F96C]],
    -1: [[0x132D6729, 0xEB92018A], [0x516748B9, 0x49D7368E], [0x4636D99E, 0x5762755B]],
    42: [[0x97DE233E, 0x38EA19C0], [0x7C5833A6, 0x746F4FD8], [0xA560EEF1, 0xE6E6F43F]],
}
GOLDEN_NORMALS = {  # the bits of float32, index 0 and 1
    0: [[0x3E6E7D13, 0xBF9D15C9, 0x3F76F661], [0x3F78BAF7, 0xBFD340C5, 0x3EDFF3CE]],
    1: [[0x3DB3A6D6, 0x3F6A9E58, 0x3F98CE96], [0xBD37704E, 0xBE8ED1F7, 0xBE7D7C31]],
    -1: [[0xBFB85730, 0x3FB406E5, 0xBE7B8C0E], [0xBEF25A2B, 0xBF0ED52C, 0xBF121DD6]],
    42: [[0x3E718C52, 0xBF43AD35, 0xBF8BA0E4], [0xBD12979A, 0xBDE86707, 0xBF55DA49]],
}


def squares(counter: int, key: int, rounds: int) -> int:
    """Widynski's code in big integers: squares32 (4 rounds), and squares64 (5) with + for its xor."""
    y = x = counter * key & M64
    z = y + key & M64
    for added in (y, z, y):
        x = x * x + added & M64
        x = x >> 32 | (x & 0xFFFFFFFF) << 32
    x = x * x + z & M64
    if rounds == 4:
        return x >> 32
    t = x
    x = x >> 32 | (x & 0xFFFFFFFF) << 32
    return t + ((x * x + y & M64) >> 32) & M64


def test_golden_integers() -> None:
    assert [int(latents.key_from_seed(seed)) for seed in GOLDEN_KEYS] == list(GOLDEN_KEYS.values())
    for seed, numbers in GOLDEN_INTEGERS.items():
        assert latents.integers(seed, [0, 1, 2**47 - 1], 2).tolist() == numbers


def test_golden_normals() -> None:
    drawn = {seed: latents.normals(seed, [0, 1], 3).view(np.uint32).tolist() for seed in GOLDEN_NORMALS}
    assert drawn == GOLDEN_NORMALS


@given(SEEDS, INDEXES, st.integers(0, 40))
def test_integers_are_squares(seed: int, index: int, count: int) -> None:
    key = squares(seed & M64, latents.HASH_KEY, 5) // 2 * 2 + 1
    assert int(latents.key_from_seed(seed)) == key
    expected = [squares(index * 65536 + j, key, 4) for j in range(count)]
    assert latents.integers(seed, [index], count).tolist() == [expected]


@given(SEEDS, st.lists(INDEXES, max_size=6), st.integers(1, 33))
def test_rows_depend_on_their_index_alone(seed: int, index: list[int], size: int) -> None:
    rows = latents.normals(seed, np.array(index, np.int64), size)
    assert rows.shape == (len(index), size)
    assert rows.dtype == np.float32
    for one, row in zip(index, rows, strict=True):
        assert latents.normals(seed, [one], size).tobytes() == row.tobytes()


def test_blocks_do_not_show() -> None:
    index = np.random.default_rng(0).permutation(5000)
    rows = latents.normals(5, index, 31)
    np.testing.assert_array_equal(rows[np.argsort(index)], latents.normals(5, range(5000), 31))


def test_layout_of_the_halves() -> None:
    bits = latents.integers(9, [3, 4], 4)
    both = np.concatenate([bits >> np.uint32(16), bits & np.uint32(0xFFFF)], axis=1)
    for size in (7, 8):
        np.testing.assert_array_equal(latents.normals(9, [3, 4], size), latents.table()[both[:, :size]])


def test_draw_deals_one_row_out_in_order() -> None:
    drawn = latents.draw({"z": (3,), "noise": (1, 2, 2)}, 5, np.array([4, 9]))
    row = latents.normals(5, [4, 9], 7)
    np.testing.assert_array_equal(drawn["z"], row[:, :3])
    np.testing.assert_array_equal(drawn["noise"], row[:, 3:].reshape(2, 1, 2, 2))
    assert latents.draw({}, 5, np.array([4])) == {}


def test_largest_row_stays_in_its_index() -> None:
    row = latents.normals(1, [0], latents.MAX_SIZE)
    assert row.shape == (1, 262144)
    assert abs(row.mean()) < 0.01
    key = int(latents.key_from_seed(1))
    assert latents.integers(1, [0], 65536)[0, -1] == squares(65535, key, 4)
    assert latents.integers(1, [1], 65536)[0, 0] == squares(65536, key, 4)  # right after
    assert latents.integers(1, [0], 131072)[0, -1] == squares(131071, key, 4)
    assert latents.integers(1, [1], 65537)[0, 0] == squares(131072, key, 4)


def test_rows_of_one_number_more_than_before_keep_the_numbers_of_index_0() -> None:
    before, after = (latents.integers(5, [0], count) for count in (65536, 65537))
    np.testing.assert_array_equal(before, after[:, :-1])


def test_table() -> None:
    table = latents.table()
    assert table is latents.table()
    assert not table.flags.writeable
    assert (table.dtype, table.shape) == (np.float32, (65536,))
    assert (np.diff(table) > 0).all()
    np.testing.assert_array_equal(table, -table[::-1])
    assert table[-1] == pytest.approx(4.32496, abs=1e-5)
    assert np.square(table, dtype=np.float64).mean() == pytest.approx(1, abs=1e-8)


def test_a_platform_with_other_arithmetic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math, "sqrt", lambda x: x**0.5 * 1.0001)
    with pytest.raises(GantoolError, match="came out different"):
        latents.table.__wrapped__()


@pytest.mark.parametrize("index", [[-1], [2**47], [0.5], [[1]], 3, [2**63]])
def test_wrong_index(index: object) -> None:
    with pytest.raises(GantoolError, match="index"):
        latents.normals(0, index, 4)


@pytest.mark.parametrize("size", [0, -1, 262145])
def test_wrong_size(size: int) -> None:
    with pytest.raises(GantoolError, match=f"latent of {size} numbers"):
        latents.normals(0, [0], size)


def test_wrong_count() -> None:
    with pytest.raises(GantoolError, match="131073"):
        latents.integers(0, [0], 131073)


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_wrong_seed(seed: int) -> None:
    with pytest.raises(GantoolError, match="64 bits"):
        latents.key_from_seed(seed)


# Statistics. Limits are about 4 standard errors, or the stated quantile of the statistic.

DRAW = 4000, 100


@pytest.fixture(scope="module", params=[0, 1, -1, 2**62 + 12345])
def sample(request: pytest.FixtureRequest) -> np.ndarray:
    return latents.normals(request.param, np.arange(DRAW[0]), DRAW[1]).astype(np.float64)


def test_moments(sample: np.ndarray) -> None:
    n = sample.size
    assert abs(sample.mean()) < 4 / math.sqrt(n)
    assert abs(sample.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((sample**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((sample**4).mean() - 3) < 4 * math.sqrt(96 / n)
    # no dimension and no image is off by itself; 5.5 standard errors, as the largest of 4100
    assert np.abs(sample.mean(0)).max() * math.sqrt(DRAW[0]) < 5.5
    assert np.abs(sample.mean(1)).max() * math.sqrt(DRAW[1]) < 5.5


def test_kolmogorov_smirnov(sample: np.ndarray) -> None:
    n = sample.size
    levels, counts = np.unique(sample, return_counts=True)
    normal = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in levels])
    upper = np.cumsum(counts) / n
    distance = max(np.abs(upper - normal).max(), np.abs(upper - counts / n - normal).max())
    assert distance < 1.9495 / math.sqrt(n)  # significance 0.001


def test_neighbours_in_index_and_dimension(sample: np.ndarray) -> None:
    half = DRAW[1] // 2
    pairs = {
        "index": (sample[:-1], sample[1:]),
        "index, 2 apart": (sample[:-2], sample[2:]),
        "dimension": (sample[:, :-1], sample[:, 1:]),
        "high and low half": (sample[:, :half], sample[:, half:]),
    }
    for name, (a, b) in pairs.items():
        for power in (1, 2):  # squares: a relation of sizes without one of signs
            assert abs(correlation(a**power, b**power)) * math.sqrt(a.size) < 4, name


@pytest.mark.parametrize("first", [0, -1000, 2**63 - 2001, 10**12])
def test_neighbours_in_seed(first: int) -> None:
    rows = np.stack([latents.normals(seed, [0, 1], 20).ravel() for seed in range(first, first + 2000)])
    for apart in (1, 2, 256):
        a, b = rows[:-apart], rows[apart:]
        assert abs(correlation(a, b)) * math.sqrt(a.size) < 4
        assert abs(correlation(a**2, b**2)) * math.sqrt(a.size) < 4
    # the first dimension of the first image over seeds: what a user who only changes the seed sees
    assert abs(rows[:, 0].mean()) * math.sqrt(len(rows)) < 4
    assert abs(rows[:, 0].var() - 1) < 4 * math.sqrt(2 / len(rows))


def test_no_two_dimensions_are_related() -> None:
    rows = latents.normals(7, np.arange(4000), 64).astype(np.float64)
    related = np.corrcoef(rows.T) - np.eye(64)
    assert np.abs(related).max() * math.sqrt(4000) < 5.5  # the largest of 2016


@pytest.mark.parametrize("seed", [0, 1, 2, -1, 123456789])
def test_bytes_are_uniform(seed: int) -> None:
    bits = latents.integers(seed, np.arange(4000), 50).ravel()
    for shift in (0, 8, 16, 24):
        counts = np.bincount(bits >> np.uint32(shift) & np.uint32(255), minlength=256)
        chi2 = float(((counts - bits.size / 256) ** 2 / (bits.size / 256)).sum())
        assert 161 < chi2 < 371  # 255 degrees of freedom: outside by chance less than once in 100,000


def test_keys_do_not_collide() -> None:
    near = [int(latents.key_from_seed(seed)) for seed in range(100_001)]
    powers = [int(latents.key_from_seed(sign * (1 << bit))) for bit in range(17, 63) for sign in (1, -1)]
    assert len({*near, *powers}) == len(near) + len(powers)
    assert all(key % 2 for key in near)


def test_one_bit_of_the_seed_changes_half_the_key() -> None:
    flips = [
        (int(latents.key_from_seed(seed)) ^ int(latents.key_from_seed(seed ^ (1 << bit)))).bit_count()
        for seed in range(200)
        for bit in range(63)
    ]
    assert np.mean(flips) == pytest.approx(31.5, abs=0.15)  # the lowest bit of a key is always 1
    assert min(flips) >= 10


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_pixels() -> None:
    x = np.array([-1, 1, 0, -2, 2, 1e30, -1e30, 127 / 255, -1 + 1 / 255], np.float32)
    out = latents.pixels(x.reshape(1, 9, 1, 1))
    assert out.dtype == np.uint8
    assert out.tolist() == [[[[0, 255, 128, 0, 255, 255, 0, 191, 1]]]]  # 0 and 127.5: the half goes up
    image = np.linspace(-1, 1, 2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    assert latents.pixels(image).shape == (2, 4, 5, 3)
    assert latents.pixels(image).flags.c_contiguous


@given(st.integers(0, 255))
def test_pixels_undo_the_scaling_of_images(value: int) -> None:
    scaled = np.full((1, 1, 1, 1), np.float32(value) / np.float32(127.5) - np.float32(1), np.float32)
    assert latents.pixels(scaled).item() == value
