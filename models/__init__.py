"""The models by name. To add one, write a subclass of VAE and add it to KNOWN: every script then offers it."""

from models.vae import BTCVAE, DIPVAE, VAE, AdaGVAE, BetaVAE, CapacityVAE, FactorVAE

KNOWN = (VAE, BetaVAE, FactorVAE, BTCVAE, DIPVAE, CapacityVAE, AdaGVAE)
MODELS: dict[str, type[VAE]] = {model.__name__: model for model in KNOWN}
PAPERS_MODELS = ("VAE", "BetaVAE", "FactorVAE", "BTCVAE")  # of SynTone's paper: what is trained unless names are given


def build_model(name: str, **config) -> VAE:
    """The model of that name, built with `config` as its constructor's arguments.

    Raises
    ------
    ValueError
        If the name is not in MODELS.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is unknown, expected one of {', '.join(MODELS)}")
    return MODELS[name](**config)


__all__ = [*MODELS, "MODELS", "PAPERS_MODELS", "build_model"]
