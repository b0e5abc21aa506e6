"""InfoMEC's modularity and compactness of small information matrices, worked out by hand."""

import numpy as np
import pytest
from metrics_cases import CLOSE, MATRICES, information, sample_of

import metrics
from metrics._infomec import concentration, concentrations, normalised_information


@pytest.mark.parametrize(
    ("name", "modularity", "compactness"),
    [
        ("diagonal", [1, 1, 1], [1, 1, 1]),
        ("empty code", [1, 1, 1], [1, 1, 1]),
        ("zero", [], [0, 0, 0]),
        # (1/2 - 1/6) / (1 - 1/6)
        ("redundant", [1] * 6, [0.4] * 3),
        ("missed", [1, 1], [1, 1, 0]),
        # (1/2 - 1/3) / (1 - 1/3)
        ("merged", [1 / 4, 1], [1, 1, 1]),
    ],
)
def test_matrices(name, modularity, compactness):
    found = information(MATRICES[name])
    per_latent, per_factor = concentrations(found.share[:, found.active])
    np.testing.assert_allclose(per_latent, modularity, atol=CLOSE)
    np.testing.assert_allclose(per_factor, compactness, atol=CLOSE)


def test_active_latents_without_information_count():
    """3 of 4 latents are modular; 1/J does not change a one-hot row."""
    per_latent, per_factor = concentrations(information(MATRICES["empty code"]).share)
    np.testing.assert_allclose(per_latent, [1, 1, 1, 0], atol=CLOSE)
    np.testing.assert_allclose(per_factor, [1, 1, 1], atol=CLOSE)


def test_concentration_of_one_column_is_zero():
    np.testing.assert_array_equal(concentration(np.array([[1.0], [2.0]])), [0.0, 0.0])


def infomec_of_values(factors, codes):
    """The authors' formula for discrete codes from its definition: probabilities, logarithms, sums."""
    K, J = factors.shape[1], codes.shape[1]
    n = np.zeros((K, J))
    for k in range(K):
        entropy = -sum(p * np.log(p) for p in (np.mean(factors[:, k] == v) for v in set(factors[:, k])))
        for j in range(J):
            for v in set(factors[:, k]):
                for z in set(codes[:, j]):
                    joint = np.mean((factors[:, k] == v) & (codes[:, j] == z))
                    if joint:
                        independent = np.mean(factors[:, k] == v) * np.mean(codes[:, j] == z)
                        n[k, j] += joint * np.log(joint / independent) / entropy
    modularity = np.mean([max(n[:, j]) / sum(n[:, j]) for j in range(J)])
    compactness = np.mean([max(n[k]) / sum(n[k]) for k in range(K)])
    return (modularity - 1 / K) / (1 - 1 / K), (compactness - 1 / J) / (1 - 1 / J)


@pytest.mark.parametrize("values", ["levels", "irregular"])
def test_discrete_codes_equal_the_authors_formula(values):
    """Irregular values, which equal-width bins would merge, are values all the same."""
    generator = np.random.default_rng(0)
    factors = np.stack([generator.integers(n, size=400) for n in (3, 5, 7)], axis=1)
    mixed = np.stack([factors[:, 0] * 2 + factors[:, 1] % 2, factors[:, 1], factors[:, 2] % 4], axis=1)
    codes = np.where(generator.random((400, 3)) < 0.8, mixed, generator.integers(3, size=(400, 3))).astype(float)
    codes = np.exp(3.0 * codes) if values == "irregular" else codes
    obtained = metrics.infomec(factors=factors, codes=codes)
    expected = infomec_of_values(factors, codes)
    assert (obtained.modularity, obtained.compactness) == pytest.approx(expected, rel=0, abs=1e-9)


def test_continuous_codes_are_corrected():
    """Miller-Madow by hand. 40 rows in two classes; the latent has 40 values in 4 bins, in which the classes occupy 10
    and 10 of the lower two, 10 and 10 of the upper two, but for one pair of rows that changed sides.

    I = plug-in, less (occupied cells 6 - classes 2 - bins 4 + 1) / 80 = 1 / 80.
    """
    classes = np.repeat([0, 1], 20)
    classes[[0, 39]] = [1, 0]  # the lowest and the highest value
    latent = np.arange(40.0)
    sample = sample_of(classes[:, None], latent[:, None], n_bins=4)
    # Cells in bins of 10: (9, 1), (10, 0), (0, 10), (1, 9)
    entropy = np.log(2)
    joint = -2 * (9 / 40 * np.log(9 / 40) + 1 / 40 * np.log(1 / 40) + 10 / 40 * np.log(10 / 40))
    plug_in = entropy + np.log(4) - joint
    expected = (plug_in - 1 / 80) / entropy
    np.testing.assert_allclose(normalised_information(sample), [[expected]], rtol=0, atol=CLOSE)
    discrete = sample_of(classes[:, None], np.floor(latent / 10)[:, None], n_bins=4)
    np.testing.assert_allclose(normalised_information(discrete), [[plug_in / entropy]], rtol=0, atol=CLOSE)


def test_useless_latents_do_not_seem_to_know_every_factor():
    """Three latents with a factor each and five of noise: without the correction, the plug-in information of noise,
    (levels - 1) * 19 / 2N, is 0.06 to 0.09 of H and takes a quarter of the share of each factor."""
    factors = np.indices((4, 10, 20)).reshape(3, -1).T.repeat(2, axis=0)
    generator = np.random.default_rng(0)
    codes = np.hstack([factors + 1e-3 * generator.standard_normal(factors.shape), generator.standard_normal((1600, 5))])
    share = normalised_information(sample_of(factors, codes))
    # 2 N I is chi-squared; 5 deviations of it are left at most
    freedom = (np.array([4, 10, 20]) - 1) * 19
    assert (share[:, 3:] <= (5 * np.sqrt(2 * freedom) / 3200 / np.log([4, 10, 20]))[:, None]).all()
    assert metrics.infomec(factors=factors, codes=codes).compactness > 0.9
