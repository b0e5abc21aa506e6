"""Options of constructors: a parameter's annotation states its meaning and range, from which flags and checks are made.

Example, in a subclass of VAE:

    def __init__(self, *args, beta: Annotated[float, Option("weight of the KL", least=0)] = 4.0, **kwargs) -> None:
"""

import inspect
import math
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Option:
    """Meaning and range of a parameter: least <= value <= most and value > above, or one of `choices`.

    The range of a tuple is that of its items.
    """

    help: str = ""
    least: float = -math.inf
    most: float = 1e9
    above: float = -math.inf
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parameter:
    """A parameter of a constructor: type of its value (of the items of a tuple), and its default or REQUIRED."""

    kind: type
    is_tuple: bool
    default: Any
    option: Option

    def accepts(self, value: Any) -> bool:
        """Return whether a value has the type and is in the range."""
        option, numeric = self.option, self.kind in (int, float)
        return all(
            isinstance(item, (int, self.kind) if numeric else self.kind)
            and (not option.choices or item in option.choices)
            and (not numeric or (option.least <= item <= option.most and item > option.above))
            for item in (value if self.is_tuple else (value,))
        )

    def wanted(self) -> str:
        """Describe the range."""
        if self.option.choices:
            return f"one of {', '.join(self.option.choices)}"
        least = f"more than {self.option.above:g}, " if math.isfinite(self.option.above) else f"{self.option.least:g} "
        return f"{least}to {self.option.most:g}"


def constructor_parameters(cls: type) -> dict[str, Parameter]:
    """Return the parameters of a class's constructor by name.

    If it passes on `**kwargs`, those of the class that it extends are included.
    """
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__, eval_str=True).parameters.values())[1:]
        for p in parameters:
            if p.name not in found and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                found[p.name] = p
            elif p.name in found and found[p.name].annotation is REQUIRED:  # restated with another default
                found[p.name] = found[p.name].replace(annotation=p.annotation)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return {name: _parameter(parameter) for name, parameter in found.items()}


def _parameter(parameter: inspect.Parameter) -> Parameter:
    """Read annotation and default; without an annotation the type is that of the default."""
    kind, option = parameter.annotation, Option()
    if get_origin(kind) is Annotated:
        kind, *notes = get_args(kind)
        option = next((note for note in notes if isinstance(note, Option)), option)
    if kind is REQUIRED:
        kind = type(parameter.default)
    is_tuple = get_origin(kind) is tuple
    return Parameter(get_args(kind)[0] if is_tuple else kind, is_tuple, parameter.default, option)
