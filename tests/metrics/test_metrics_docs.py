"""Documentation of the metrics: examples run, and help shows what a call accepts."""

import doctest
import inspect

import pytest

import metrics

FUNCTIONS = [name for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name))]


@pytest.mark.parametrize("name", ["active_latents", "mig", "dci_disentanglement", "evaluate"])
def test_examples(name):
    function = getattr(metrics, name)
    (example,) = [
        test for test in doctest.DocTestFinder().find(function, name, globs=vars(metrics).copy()) if test.examples
    ]
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize("name", sorted({*FUNCTIONS} - {"defined_metrics", "dci_completeness", "udr_per_model"}))
def test_every_parameter_is_documented(name):
    documentation = inspect.getdoc(getattr(metrics, name))
    assert "Returns\n-------" in documentation
    for parameter in inspect.signature(getattr(metrics, name)).parameters:
        assert f"\n{parameter} : " in documentation, parameter


def test_metrics_differ_in_what_they_accept():
    factors, codes = [[0], [1], [0], [1]], [[0.1, 1.0], [0.2, 2.0], [0.3, 1.5], [0.4, 1.1]]
    assert "n_bins" in inspect.signature(metrics.mig).parameters
    with pytest.raises(TypeError, match="n_bins"):
        metrics.sap(factors=factors, codes=codes, n_bins=20)
    with pytest.raises(TypeError, match="codes"):
        metrics.mig(factors=factors)
