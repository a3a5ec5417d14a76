"""Ed25519 by hand: keys and signatures that a library will not make, with a part of small order in them.

For such, verifiers that multiply by the cofactor and those that do not give different verdicts. Slow, and for tests
alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

P: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
IDENTITY: Final[Point] = (0, 1)


def _root(square: int) -> int:
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square % P:
        root = root * pow(2, (P - 1) // 4, P) % P
    if root * root % P != square % P:
        raise ValueError("not on the curve")
    return root


def decompress(data: bytes) -> Point:
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number % 2**255 % P
    x = _root((y * y - 1) * pow(D * y * y + 1, -1, P) % P)
    return (-x % P if x & 1 != sign else x), y


def compress(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    cross = D * x1 * x2 * y1 * y2 % P
    x3 = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, P)
    y3 = (y1 * y2 + x1 * x2) * pow(1 - cross, -1, P)
    return x3 % P, y3 % P


def multiply(scalar: int, point: Point) -> Point:
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


BASE: Final = decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def _of_order_eight() -> Point:
    y = 2
    while True:
        try:
            point = multiply(ORDER, decompress(y.to_bytes(32, "little")))
        except ValueError:
            point = IDENTITY
        if multiply(4, point) != IDENTITY:
            return point
        y += 1


ORDER_EIGHT: Final = _of_order_eight()
# The eight points of small order, then four of them in spellings that are not canonical: y + P, and x = -0.
SMALL: Final = (
    *(compress(multiply(i, ORDER_EIGHT)) for i in range(8)),
    P.to_bytes(32, "little"),
    (P + 1).to_bytes(32, "little"),
    (1 | 1 << 255).to_bytes(32, "little"),
    (P - 1 | 1 << 255).to_bytes(32, "little"),
)


def challenge(point: bytes, public: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(point + public + message).digest(), "little") % ORDER


def secret(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    return int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254, digest[32:]


def mixed_key(seed: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """A public key with a part of order eight, and what signs for it as well as can be."""
    scalar, _ = secret(seed)
    public = compress(add(multiply(scalar, BASE), ORDER_EIGHT))
    return public, lambda message: sign(scalar, public, message)


def sign_mixed(seed: bytes, message: bytes) -> bytes:
    """A signature by an honest key whose R has a part of order eight."""
    scalar, _ = secret(seed)
    return sign(scalar, compress(multiply(scalar, BASE)), message, ORDER_EIGHT)


def sign(scalar: int, public: bytes, message: bytes, torsion: Point = IDENTITY) -> bytes:
    """S·B = R + h·A holds but for the parts of small order in R and A."""
    nonce = int.from_bytes(hashlib.sha512(b"nonce" + message).digest(), "little") % ORDER
    return sign_with(nonce, compress(add(multiply(nonce, BASE), torsion)), scalar, public, message)


def sign_luckily(scalar: int, public: bytes, message: bytes) -> bytes:
    """An exact signature by a key with a part of small order, or none else: its challenge is a multiple of eight."""
    for nonce in range(1, 1000):
        point = compress(multiply(nonce, BASE))
        if challenge(point, public, message) % 8 == 0:
            return sign_with(nonce, point, scalar, public, message)
    raise AssertionError("no luck in a thousand")


def sign_with(nonce: int, point: bytes, scalar: int, public: bytes, message: bytes) -> bytes:
    response = (nonce + challenge(point, public, message) * scalar) % ORDER
    return point + response.to_bytes(32, "little")
