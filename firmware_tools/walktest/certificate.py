"""The commissioning certificate on paper: a PDF of what was signed, with the signed record attached.

Owns the page. It says nothing that the record does not say; the record alone can be verified.

Needs no network: a font of the machine is taken where there is one with more letters than the PDF's own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from firmware_tools.errors import ToolError
from gateway.chain.workmanship import FAILED, PASSED, Commissioning, Trial

__all__ = ["draw"]

_FONTS: Final = (
    ("/usr/share/fonts/truetype/dejavu", "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    ("/usr/share/fonts/truetype/liberation", "LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"),
    ("/Library/Fonts", "Arial Unicode.ttf", "Arial Unicode.ttf"),
    ("C:/Windows/Fonts", "arial.ttf", "arialbd.ttf"),
)
_INK: Final = (28, 34, 44)
_FAINT: Final = (105, 113, 125)
_LINE: Final = (205, 210, 217)
_BAND: Final = (24, 58, 92)
_GREEN: Final = (22, 120, 70)
_RED: Final = (176, 32, 32)
_WORDS: Final = {PASSED: "passed", FAILED: "failed"}
_MARGIN: Final = 18.0


def draw(record: Commissioning, signed: bytes, name: str) -> bytes:
    """Return the certificate of a record.

    Args:
        signed: the record's file, to be attached under `name`.

    Raises:
        ToolError: the library that draws it is not installed.
    """
    try:
        from fpdf import FPDF
    except ImportError as error:
        raise ToolError("a certificate needs fpdf2: pip install 'tocsin[tools]'") from error
    page = _Page(FPDF(format="A4"), record)
    page.head()
    page.facts()
    page.trials()
    page.outputs()
    page.contracts()
    page.signature(signed, name)
    return page.bytes()


class _Page:
    """The certificate while it is drawn."""

    def __init__(self, pdf: Any, record: Commissioning) -> None:
        self.pdf, self.record = pdf, record
        pdf.set_margin(_MARGIN)
        pdf.set_auto_page_break(True, 20)
        pdf.set_title(f"Commissioning certificate, {record.site}")
        pdf.set_author(record.name)
        pdf.set_creator(record.software)
        pdf.set_creation_date(datetime.fromtimestamp(record.made / 1000, UTC))
        self._font, self._is_wide = _choose(pdf)
        pdf.add_page()

    def head(self) -> None:
        pdf = self.pdf
        pdf.set_fill_color(*_BAND)
        pdf.rect(0, 0, pdf.w, 30, style="F")
        pdf.set_xy(_MARGIN, 8)
        self._write(18, (255, 255, 255), "Commissioning certificate", bold=True)
        pdf.set_xy(_MARGIN, 17)
        self._write(10, (214, 224, 235), "Walk test of a Tocsin early-warning gateway")
        pdf.set_y(36)
        if self.record.simulated:
            self._warn("SIMULATED - a rehearsal, which certifies no site")
        if not self.record.complete:
            self._warn("INCOMPLETE - this is no certificate of a working site")

    def _warn(self, text: str) -> None:
        pdf = self.pdf
        top = pdf.get_y()
        pdf.set_fill_color(*_RED)
        pdf.rect(_MARGIN, top, pdf.epw, 10, style="F")
        pdf.set_xy(_MARGIN, top)
        self._font_of(12, bold=True)
        pdf.set_text_color(255, 255, 255)
        pdf.cell(pdf.epw, 10, text, align="C")
        pdf.set_y(top + 14)

    def facts(self) -> None:
        record = self.record
        for name, value in (
            ("Site", record.site),
            ("Gateway", record.gateway.hex()),
            ("Chain (genesis)", record.genesis.hex()),
            ("Catalogue (root)", record.catalogue.hex()),
            ("Software", record.software),
            ("Technician", record.name),
            ("Date", _when(record.made)),
        ):
            self._font_of(9)
            self.pdf.set_text_color(*_FAINT)
            self.pdf.cell(36, 5.6, self._text(name))
            self.pdf.set_text_color(*_INK)
            self._font_of(9, bold=name == "Site")
            self.pdf.multi_cell(self.pdf.epw - 36, 5.6, self._text(value), new_x="LMARGIN", new_y="NEXT")
        passed = sum(1 for each in record.trials if each.outcome == PASSED)
        self.pdf.ln(2)
        self._font_of(11, bold=True)
        self.pdf.set_text_color(*(_GREEN if record.complete else _RED))
        said = f"{passed} of {len(record.trials)} detectors passed: each alarm was seen at the gateway and at the hub."
        self.pdf.cell(0, 7, self._text(said), new_x="LMARGIN", new_y="NEXT")

    def trials(self) -> None:
        self._title("Detectors")
        head = ("Detector", "Serial", "Result", "Contract", "Tried (UTC)", "Here", "Hub", "Calibrated until")
        rows = [_row(each) for each in self.record.trials]
        self._table(head, rows, (26, 18, 14, 28, 30, 15, 15, 28), result=2)
        for each in self.record.trials:
            if each.remark:
                self._small(f"{each.sensor}: {each.remark}")
        self._small("Here, Hub: from the onset until the alarm stood at the gateway, and at the hub.")

    def outputs(self) -> None:
        if self.record.outputs:
            self._title("Outputs")
            rows = [(o.output, o.kind, "acted" if o.acted else "did not act") for o in self.record.outputs]
            self._table(("Output", "Kind", "In the trials"), rows, (40, 40, 40), result=2)

    def contracts(self) -> None:
        self._title("Contracts in force")
        rows = [(each.contract, str(each.version), each.hash.hex()) for each in self.record.contracts]
        self._table(("Contract", "Version", "SHA-256"), rows, (38, 14, 122))
        self._title("Alarms as recorded in the chain")
        alarms = [(each.sensor, each.alarm.hex()) for each in self.record.trials if each.alarm]
        self._table(("Detector", "Transition (SHA-256)"), alarms, (38, 136))

    def signature(self, signed: bytes, name: str) -> None:
        pdf, record = self.pdf, self.record
        if pdf.get_y() > pdf.h - 70:
            pdf.add_page()
        self._title("Signature")
        # A Signed ends in its signature's 64 bytes.
        for what, value in (
            ("Key (Ed25519)", record.technician.hex()),
            ("Record (SHA-256)", record.hash.hex()),
            ("Signature", signed[-64:].hex()),
        ):
            self._font_of(8)
            pdf.set_text_color(*_FAINT)
            pdf.cell(36, 4.6, what)
            pdf.set_text_color(*_INK)
            pdf.multi_cell(pdf.epw - 36, 4.6, self._text(value), new_x="LMARGIN", new_y="NEXT")
        pdf.ln(2)
        self._small(
            f"The signed record is attached to this file as {name}, and is what counts. Whoever knows the technician's"
            f" key checks it without a network: tocsin-tools verify {name} --trust GENESIS --technician KEY"
        )
        self._small(
            "Not a substitute for equipment certified to EN 54, EN 50194 or EN 50291, nor for its commissioning."
        )
        pdf.ln(12)
        pdf.set_draw_color(*_FAINT)
        pdf.line(_MARGIN, pdf.get_y(), _MARGIN + 70, pdf.get_y())
        pdf.line(_MARGIN + 84, pdf.get_y(), _MARGIN + 154, pdf.get_y())
        self._font_of(8)
        pdf.set_text_color(*_FAINT)
        pdf.cell(84, 5, self._text(f"{record.name}, technician"))
        pdf.cell(70, 5, "Received by", new_x="LMARGIN", new_y="NEXT")
        pdf.embed_file(bytes=signed, basename=name, desc="The signed commissioning record", compress=True)

    def bytes(self) -> bytes:
        return bytes(self.pdf.output())

    def _title(self, text: str) -> None:
        if self.pdf.get_y() > self.pdf.h - 50:
            self.pdf.add_page()
        self.pdf.ln(3)
        self._font_of(11, bold=True)
        self.pdf.set_text_color(*_BAND)
        self.pdf.cell(0, 7, self._text(text), new_x="LMARGIN", new_y="NEXT")

    def _small(self, text: str) -> None:
        self._font_of(7.5)
        self.pdf.set_text_color(*_FAINT)
        self.pdf.multi_cell(0, 4, self._text(text), new_x="LMARGIN", new_y="NEXT")

    def _table(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], result: int = -1
    ) -> None:
        from fpdf.fonts import FontFace

        pdf = self.pdf
        self._font_of(7.5)
        pdf.set_draw_color(*_LINE)
        pdf.set_fill_color(255, 255, 255)
        pdf.set_text_color(*_INK)
        bold = FontFace(emphasis="BOLD", color=_FAINT, fill_color=(242, 244, 247))
        with pdf.table(
            col_widths=tuple(widths),
            width=sum(widths),
            align="LEFT",
            text_align="LEFT",
            line_height=4.4,
            padding=(0.8, 1.0),
            borders_layout="HORIZONTAL_LINES",
            headings_style=bold,
        ) as table:
            table.row([self._text(each) for each in head])
            for each in rows:
                row = table.row()
                for index, cell in enumerate(each):
                    good = cell in ("passed", "acted")
                    style = (
                        FontFace(emphasis="BOLD", color=_GREEN if good else _RED) if index == result else None
                    )
                    row.cell(self._text(cell), style=style)
        pdf.ln(1)

    def _write(self, size: float, colour: tuple[int, int, int], text: str, *, bold: bool = False) -> None:
        self._font_of(size, bold=bold)
        self.pdf.set_text_color(*colour)
        self.pdf.cell(0, 8, self._text(text))

    def _font_of(self, size: float, *, bold: bool = False) -> None:
        self.pdf.set_font(self._font, "B" if bold else "", size)

    def _text(self, text: str) -> str:
        """Return a text as the font can write it; the record keeps it as it is."""
        if self._is_wide:
            return text
        plain = "".join(_latin(letter) for letter in unicodedata.normalize("NFC", text))
        return plain.encode("latin-1", "replace").decode("latin-1")


def _latin(letter: str) -> str:
    if ord(letter) < 256:
        return letter
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"


def _choose(pdf: Any) -> tuple[str, bool]:
    """Return a font, and whether it has letters beyond Latin-1."""
    for folder, plain, bold in _FONTS:
        if (Path(folder) / plain).exists() and (Path(folder) / bold).exists():
            pdf.add_font("Sans", "", Path(folder) / plain)
            pdf.add_font("Sans", "B", Path(folder) / bold)
            return "Sans", True
    return "Helvetica", False


def _row(trial: Trial) -> tuple[str, ...]:
    done = trial.outcome == PASSED
    until = f"{datetime.fromtimestamp(trial.until / 1000, UTC):%Y-%m-%d}" if trial.until else "-"
    return (
        trial.sensor,
        trial.serial or "-",
        _WORDS.get(trial.outcome, "not tried"),
        trial.contract or "-",
        _when(trial.begun)[:16] if trial.begun else "-",
        f"{trial.here / 1000:.1f} s" if done else "-",
        f"{trial.hub / 1000:.1f} s" if done else "-",
        until,
    )


def _when(wall_ms: int) -> str:
    return f"{datetime.fromtimestamp(wall_ms // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
