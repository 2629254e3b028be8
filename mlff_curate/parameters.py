"""Parameters in scikit-learn's manners: those of ``__init__``, kept as given under their names."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self


class Parameters:
    """Reads and sets the parameters of a class by name, as scikit-learn's ``clone`` and searches do."""

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 (scikit-learn's signature)
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name.

        Raises
        ------
        ValueError
            Unknown name; the message lists those known.
        """
        for name, value in parameters.items():
            if name not in self._names():
                message = f"unknown parameter {name!r}; available: {', '.join(self._names())}"
                raise ValueError(message)
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """Return the call that makes this object."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"
