"""The certificate on paper: it carries its signed record byte for byte, whatever fonts the machine has."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

import pytest

from firmware_tools.walktest import certificate
from gateway.chain.keys import SigningKey
from gateway.chain.workmanship import (
    FAILED,
    PASSED,
    Commissioning,
    InForce,
    Moving,
    Trial,
    read_commissioning,
    sign_commissioning,
)

KEY = SigningKey(bytes(range(32)))
TRIAL = Trial(
    "contact smoke", "HK-77/1", PASSED, "smoke-contact", 1_795_369_618_855, 712, 801, bytes(32), 0, ""
)
RECORD = Commissioning(
    KEY.public,
    "Prüfer 12",
    bytes(32),
    bytes(16),
    "ulica Łąkowa 3, Łódź",
    "tocsin-gateway 0.1.0",
    bytes(32),
    (InForce("smoke-contact", 1, bytes(32)),),
    (Moving("siren", "siren", 1),),
    tuple(replace(TRIAL, sensor=f"contact smoke-{number}") for number in range(60)),
    1,
    0,
    1_795_369_628_855,
)


def streams(page: bytes) -> list[bytes]:
    found = []
    for data in re.findall(rb">>\r?\nstream\r?\n(.*?)\r?\nendstream", page, re.DOTALL):
        try:
            found.append(zlib.decompressobj().decompress(data))
        except zlib.error:
            found.append(data)
    return found


@pytest.mark.parametrize("fonts", ["the machine's", "none"])
def test_the_page_carries_its_record_and_runs_over_several_pages(
    monkeypatch: pytest.MonkeyPatch, fonts: str
) -> None:
    if fonts == "none":
        monkeypatch.setattr(certificate, "_FONTS", ())
    signed = sign_commissioning(RECORD, KEY)
    page = certificate.draw(RECORD, signed, "flat.commissioning")
    assert signed in streams(page)
    assert read_commissioning(signed).site == "ulica Łąkowa 3, Łódź"
    assert page.count(b"/Type /Page\n") > 1


def test_what_is_incomplete_says_so_in_large_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "_FONTS", ())  # whose text can be found in the page's own bytes
    failed = replace(TRIAL, outcome=FAILED, alarm=b"", contract="", remark="silent: no alarm here")
    record = replace(RECORD, trials=(failed,), complete=0)
    text = b"".join(streams(certificate.draw(record, sign_commissioning(record, KEY), "a.commissioning")))
    assert b"INCOMPLETE" in text
    assert b"silent: no alarm here" in text
    whole = b"".join(streams(certificate.draw(RECORD, sign_commissioning(RECORD, KEY), "a.commissioning")))
    assert b"INCOMPLETE" not in whole
