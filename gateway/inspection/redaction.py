"""A configuration without its secrets, and texts without those that strayed into them.

Owns what is a secret here: the contents of key, password and ticket files, whatever stands in a URL before its host,
values under names that say so, and private keys in PEM. It does not own where texts come from.

Invariants:
* A configuration is redacted by its structure: what is shown is written anew from what was understood, so comments
  and files that cannot be parsed are never copied.
* No form in which a known secret is commonly written (as it stands, hexadecimal, base64, percent-encoded) passes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from gateway.config import Config

__all__ = ["GONE", "Secrets", "redacted", "secrets_of"]

GONE: Final = "[redacted]"
_NAMES: Final = re.compile(
    r"(?i)(pass(word|wd|phrase)?|secret|token|seed|credential|api_?key|private_?key|pin_?code)$"
)
_URL_USER: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)([^\s/?#\"']+)@")
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_WORDS: Final = r"(?:pass(?:word|wd|phrase)?|secret|token|seed|psk|(?:api|private)[_-]?key|authorization)"
_SAID: Final = re.compile(  # in prose, JSON, JSON within a string, environments and headers
    rf"""(?i)((?<![a-z]){_WORDS}\\?["']?\s*[=:]\s*)((?:basic|bearer)\s+\S+|\\?"[^"]*"|'[^']*'|\S+)"""
)
_OPTION: Final = re.compile(rf"(?i)(--(?:\w+-)*{_WORDS}\s+)(\S+)")
_SHORT: Final = 4
"""Shorter values are no secrets, and would be cut out of everything."""
_TOKEN: Final = 12
_MAX_FILE: Final = 1 << 16


def redacted(value: object, name: str = "") -> object:
    """Return a configuration's tree as plain values without secrets."""
    if isinstance(value, Mapping):
        return {str(key): redacted(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(each, name) for each in value]
    if _NAMES.search(name):
        return GONE
    if isinstance(value, str):
        return _URL_USER.sub(rf"\1{GONE}@", _PEM.sub(GONE, value))
    return value if isinstance(value, bool | int) or value is None else str(value)


class Secrets:
    """Secrets that are known by value, and how they are taken out of texts."""

    def __init__(self, values: Iterable[bytes]) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= _SHORT}
        # The longest first: a part of a secret must not hide the rest of it.
        self._forms = sorted(forms, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """Return a text without secrets, known or such by their look."""
        text = _PEM.sub(GONE, text)
        text = _URL_USER.sub(rf"\1{GONE}@", text)
        text = _OPTION.sub(rf"\1{GONE}", _SAID.sub(rf"\1{GONE}", text))
        data = text.encode(errors="replace")
        for form in self._forms:
            data = re.sub(re.escape(form), GONE.encode(), data, flags=re.IGNORECASE)
        return data.decode(errors="replace")

    def stand_in(self, data: bytes) -> bool:
        """Whether any known secret stands in some bytes."""
        lower = data.lower()
        return any(form.lower() in lower for form in self._forms)


def secrets_of(config: Config | None, paths: Iterable[Path] = ()) -> Secrets:
    """Return what a configuration knows of secrets: the files it names, its own key, and its URLs' users."""
    values: list[bytes] = []
    named = list(paths)
    if config is not None:
        named += [config.data / "key", *map(Path, _secret_files(config))]
        urls = [hub.url for hub in config.hubs] + ([config.enrolment.url] if config.enrolment else [])
        values += [part.encode() for url in urls for part in _users(url)]
    for path in named:
        values += _contents(path)
    return Secrets(values)


def _secret_files(config: Config) -> Iterator[str]:
    if config.enrolment:
        yield config.enrolment.ticket
    for hub in config.hubs:
        yield from (name for name in (hub.password_file, hub.key_file) if name)


def _contents(path: Path) -> list[bytes]:
    """Return a secret file whole, and each of its lines and quoted values."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE).strip()
    except OSError:
        return []
    lines = [line.strip() for line in data.splitlines() if not line.startswith(b"-----")]
    return [data, *lines, *re.findall(rb'"([^"]{12,})"', data)]


def _users(url: str) -> Iterator[str]:
    if (found := _URL_USER.match(url)) is not None:
        user, _, password = found.group(2).partition(":")
        told = password or (user if len(user) >= _TOKEN else "")  # a user's name alone is none
        yield from (part for part in (told, unquote(told)) if part)


def _forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield value.hex().encode()
    yield base64.b64encode(value).rstrip(b"=")
    yield base64.urlsafe_b64encode(value).rstrip(b"=")
    yield quote(value, safe="").encode()
    yield from (
        json.dumps(value.decode(errors="replace"), ensure_ascii=each)[1:-1].encode() for each in (True, False)
    )
    if re.fullmatch(rb"(?:[0-9a-fA-F]{2}){8,}", value):  # written in hexadecimal: its bytes, too
        yield from _forms_of_bytes(bytes.fromhex(value.decode()))


def _forms_of_bytes(raw: bytes) -> Iterator[bytes]:
    yield raw
    yield base64.b64encode(raw).rstrip(b"=")
    yield base64.urlsafe_b64encode(raw).rstrip(b"=")
