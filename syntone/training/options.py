"""The flags of `trainvae.py` that models and front ends bring, made from the signatures of their constructors."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from models import MODELS
from models.options import REQUIRED, Parameter, constructor_parameters
from syntone.cli import number
from syntone.errors import InputError
from syntone.features.front_end import DEFAULTS, FrontEnd

RUN = ("input_shape", "n_data", "anneal_from")  # arguments of a model that follow from data, front end and schedule


def model_parameters(name: str) -> dict[str, Parameter]:
    """Return the parameters of a registered model that are options of its own, of types that a flag can have."""
    return {
        key: parameter
        for key, parameter in constructor_parameters(MODELS[name]).items()
        if key not in RUN and parameter.kind in (int, float, str, bool)
    }


def front_end_parameters(kind: str) -> dict[str, Parameter]:
    """Return the options of a kind of front end, with the defaults of that kind."""
    every = constructor_parameters(FrontEnd)
    return {name: replace(every[name], default=default) for name, default in DEFAULTS[kind].items()}


def add_flags(group: argparse._ArgumentGroup, owners: Mapping[str, Mapping[str, Parameter]]) -> None:
    """Add one flag for each option of the owners (models or kinds of front end), None where it is not given.

    The help lists the meanings of the option, with the owners and their defaults.
    """
    options: dict[str, dict[str, Parameter]] = {}
    for owner, parameters in owners.items():
        for name, parameter in parameters.items():
            options.setdefault(name, {})[owner] = parameter
    for name, by_owner in options.items():
        meanings: dict[str, dict[str, str]] = {}
        for owner, parameter in by_owner.items():
            meanings.setdefault(parameter.option.help, {})[owner] = _shown(parameter.default)
        words = [f"{meaning} ({_defaults(shown, len(owners))})".lstrip() for meaning, shown in meanings.items()]
        group.add_argument(f"--{name}", help="; ".join(words).replace("%", "%%"), **_argument(list(by_owner.values())))


def _shown(default: Any) -> str:
    items = default if isinstance(default, tuple) else (default,)
    return "required" if default is REQUIRED else " ".join(f"{x:g}" if type(x) is float else f"{x}" for x in items)


def _defaults(shown: dict[str, str], n_owners: int) -> str:
    if len(shown) == n_owners and len(set(shown.values())) == 1:
        return f"default: {next(iter(shown.values()))}"
    return ", ".join(f"{owner}: {default}" for owner, default in shown.items())


def _argument(parameters: list[Parameter]) -> dict[str, Any]:
    """Return the arguments of argparse for one option; its range is the widest of the owners'."""
    first, options = parameters[0], [parameter.option for parameter in parameters]
    if first.kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    how: dict[str, Any] = {"nargs": "+"} if first.is_tuple else {}
    if first.kind in (int, float):
        least, above = (min(getattr(option, bound) for option in options) for bound in ("least", "above"))
        return how | {"type": number(first.kind, least=least, above=above, most=max(one.most for one in options))}
    return how | {"choices": options[0].choices or None}


def given_options(args: argparse.Namespace, owners: Mapping[str, Mapping[str, Parameter]]) -> dict[str, Any]:
    """Return the options of any owner that were given on the command line."""
    names = dict.fromkeys(name for parameters in owners.values() for name in parameters)
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def check_given(given: Mapping[str, Any], owners: Mapping[str, Mapping[str, Parameter]], *, flag: str) -> None:
    """Refuse an option that none of the chosen owners has, or that is out of the range of one of them."""
    for name, value in given.items():
        having = {owner: parameters[name] for owner, parameters in owners.items() if name in parameters}
        if not having:
            raise InputError(f"--{name}: none of {', '.join(owners)} has it; leave it out or choose another {flag}")
        for owner, parameter in having.items():
            if not parameter.accepts(value):
                raise InputError(f"--{name}: {value} is out of range for {owner}; give {parameter.wanted()}")
