// Signatures by suite. Suite 1 is Ed25519; there is no other yet.

import { verifyEd25519 } from "./ed25519.mjs";
import { signedBytes } from "./hashes.mjs";
import { demand } from "./refusal.mjs";

export function demandSuite(suite) {
  demand(suite === 1n, `suite ${suite} is unknown`);
}

export function demandSignature(domain, key, suite, body, signature) {
  demandSuite(suite);
  demand(
    verifyEd25519(key, signedBytes(domain, Number(suite), body), signature),
    `a signature of ${domain} does not verify`,
  );
}

/** The body of a Signed record, once its signature has been verified. */
export function openSigned(domain, key, signed) {
  demandSignature(domain, key, signed.suite, signed.body, signed.signature);
  return signed.body;
}
