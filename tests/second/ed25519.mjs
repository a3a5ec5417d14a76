// Ed25519 as section 2 wants it: cofactorless, and stricter than a plain RFC 8032 verifier.

import { createPublicKey, verify } from "node:crypto";

const FIELD = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const SPKI_HEAD = Buffer.from("302a300506032b6570032100", "hex"); // a raw Ed25519 key behind it is a key in DER

// The y of the eight points of small order: 1 the identity, -1 of order two, 0 of order four, and these of order eight.
const ORDER_EIGHT = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
const SMALL_ORDER = new Set([0n, 1n, FIELD - 1n, ORDER_EIGHT, FIELD - ORDER_EIGHT]);

export function verifyEd25519(key, message, signature) {
  const point = signature.subarray(0, 32);
  const scalar = littleEndian(signature.subarray(32));
  if (scalar >= ORDER) return false;
  if (coordinate(key) >= FIELD || hasSmallOrder(key) || hasSmallOrder(point)) return false;
  // OpenSSL computes the point from key, message and scalar and compares its bytes: no cofactor, and no second
  // spelling of the point.
  const spki = createPublicKey({ key: Buffer.concat([SPKI_HEAD, key]), format: "der", type: "spki" });
  return verify(null, message, spki, signature);
}

function hasSmallOrder(point) {
  return SMALL_ORDER.has(coordinate(point) % FIELD);
}

/** The y that 32 bytes spell, without the sign of x in the topmost bit. */
function coordinate(point) {
  return BigInt.asUintN(255, littleEndian(point));
}

function littleEndian(bytes) {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
}
