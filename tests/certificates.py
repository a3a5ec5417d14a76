"""A certificate authority for tests of TLS, with what RFC 5280 asks of one: Python 3.13 checks for it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

_CA = """[ca]
default_ca = ours
[ours]
database = index
serial = serial
new_certs_dir = .
default_md = default
policy = any
unique_subject = no
[any]
commonName = supplied
"""
_EXTENSIONS = "subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n"


class Authority:
    """Makes `name.pem` and `name.key` in a directory, beside its own `ca.pem` and `ca.key`."""

    def __init__(self, directory: Path, openssl: Path) -> None:
        self.directory, self._openssl = directory, openssl
        self.file = directory / "ca.pem"
        (directory / "extensions").write_text(_EXTENSIONS)
        uses = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
        self._make("ca", "pem", "-x509", "-days", "2", *(word for use in uses for word in ("-addext", use)))

    def certify(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate for this machine, and of its key."""
        self._make(name, "csr")
        self._run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                  "-days", "2", "-extfile", "extensions", "-out", f"{name}.pem")  # fmt: skip
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"

    def certify_between(self, name: str, begins: float, ends: float) -> tuple[Path, Path]:
        """Return the same, good between two Unix times in seconds."""
        for file, text in (("ca.cnf", _CA), ("index", ""), ("serial", "01\n")):
            (self.directory / file).write_text(text)
        self._make(name, "csr")
        start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(each)) for each in (begins, ends))
        self._run("ca", "-batch", "-notext", "-config", "ca.cnf", "-in", f"{name}.csr", "-cert", "ca.pem",
                  "-keyfile", "ca.key", "-startdate", start, "-enddate", end, "-extfile", "extensions",
                  "-out", f"{name}.pem")  # fmt: skip
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"

    def _make(self, name: str, kind: str, *options: str) -> None:
        self._run("req", "-newkey", "ed25519", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                  "-out", f"{name}.{kind}", *options)  # fmt: skip

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], cwd=self.directory, check=True, capture_output=True)
