"""The templates: contracts to begin with, whose names, holds and limits are filled in.

A template is TOML with places `${name}`, which must be filled, and `${name=default}`, which may be. A place
`<<name: piece //between>>` is filled by a list: the piece once for each, `@` in it the element, `#` its number from 1.
The numbers are those of common practice and stand in each file with their reason; whoever installs answers for them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib.resources import files

from gateway.contracts.errors import TemplateError

_PLACE = re.compile(r"\$\{([a-z_]+)(?:=([^}]*))?\}")
_EACH = re.compile(r"<<([a-z_]+):\s*(.*?)\s*(?://(.*?))?>>", re.DOTALL)
_FILLING = re.compile(r"[^\"\\\x00-\x1f\x7f]{1,96}")


def template_names() -> tuple[str, ...]:
    """Return the templates that there are, in order."""
    folder = files("gateway.contracts") / "templates"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def template(name: str, **names: str | int | Sequence[str]) -> str:
    """Return a template's TOML with its places filled, ready for `read_contract`. A list of one may be that one.

    Raises:
        TemplateError: no such template; a place is not filled, or there is none of a given name; or a filling
            holds a quote, a backslash or a control character.
    """
    if name not in template_names():
        raise TemplateError(f"no template is called {name!r}; {_nearest(name, template_names())}")
    text = (files("gateway.contracts") / "templates" / f"{name}.toml").read_text(encoding="utf-8")
    lists = {match[1] for match in _EACH.finditer(text)}
    places = {match[1]: match[2] for match in _PLACE.finditer(text)} | dict.fromkeys(lists)
    for given, value in names.items():
        if given not in places:
            raise TemplateError(f"template {name} has no place {given!r}; {_nearest(given, tuple(places))}")
        elements = [value] if isinstance(value, str | int) else value
        if given not in lists and not isinstance(value, str | int):
            raise TemplateError(f"template {name}: {given} is one value, no list")
        if not elements or not all(_FILLING.fullmatch(str(each)) for each in elements):
            raise TemplateError(
                f"template {name}: {given} cannot be {value!r:.60}; write 1 to 96 plain characters"
            )
    lacking = [place for place, default in places.items() if default is None and place not in names]
    if lacking:
        raise TemplateError(f"template {name} needs {', '.join(lacking)}")
    text = _EACH.sub(lambda match: _repeated(names[match[1]], match[2], match[3] or "\n"), text)
    return _PLACE.sub(lambda match: str(names.get(match[1], match[2])), text)


def _repeated(value: str | int | Sequence[str], piece: str, between: str) -> str:
    elements = [str(value)] if isinstance(value, str | int) else value
    return between.join(piece.replace("#", str(i)).replace("@", each) for i, each in enumerate(elements, 1))


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
