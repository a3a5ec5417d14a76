// Canonical JSON: keys in order, no white space, ASCII alone, and integers in full however large they are.
// (JSON.stringify knows no BigInt, and a Number would lose digits above 2^53.)

export function canonicalJson(value) {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "string") return asciiString(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const entries = Object.keys(value).sort().map((key) => `${asciiString(key)}:${canonicalJson(value[key])}`);
  return `{${entries.join(",")}}`;
}

function asciiString(value) {
  return JSON.stringify(value).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
