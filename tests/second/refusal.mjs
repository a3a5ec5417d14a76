// The one way in which evidence fails. Any other error that escapes is a fault of this verifier and must be seen.

export class Refusal extends Error {}

export function demand(condition, reason) {
  if (!condition) throw new Refusal(reason);
}
