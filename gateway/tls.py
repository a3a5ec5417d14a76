"""TLS towards hubs and brokers, also by a gateway that does not know what time it is.

Owns contexts and the check of a certificate's time. It does not own whether wall time can be relied upon
(`gateway.synchrony`).

Invariants:
* Authority and host name are always checked.
* Where wall time is vouched for, a certificate is good in its time, as ever. Where it is not, it is good unless it
  had expired at the earliest moment that it can be now: a gateway whose clock starts in 1970 must reach its hub to
  learn the time, and one that was long in a drawer must accept a certificate made meanwhile.
"""

from __future__ import annotations

import ssl
from typing import Final

__all__ = ["client_context"]

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of openssl/x509_vfy.h


def client_context(ca_file: str | None, doubt_ms: int | None = None) -> ssl.SSLContext:
    """Return a context for connections to servers.

    Args:
        ca_file: the authority of their certificates; None means the system's.
        doubt_ms: the earliest wall time that it can be, where wall time is not vouched for.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if doubt_ms is not None:
        context.verify_flags |= _NO_CHECK_TIME
        context.sslsocket_class = _not_expired_by(doubt_ms)
    return context


def _not_expired_by(earliest_ms: int) -> type[ssl.SSLSocket]:
    class PatientSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            certificate = self.getpeercert() or {}
            ends = str(certificate.get("notAfter", "Jan  1 00:00:00 1970 GMT"))
            if ssl.cert_time_to_seconds(ends) * 1000 < earliest_ms:
                raise ssl.SSLCertVerificationError(f"the server's certificate expired on {ends}")

    return PatientSocket
