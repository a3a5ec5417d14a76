// Deterministic CBOR, the subset of section 1: BigInt, Buffer, string and Array, one spelling for each value.

import { demand } from "./refusal.mjs";

const UINT = 0, NEGATIVE = 1, BYTES = 2, TEXT = 3, ARRAY = 4;
const DEEPEST = 12;
const TOP = 2n ** 63n; // integers are -TOP .. TOP - 1
const LEAST_OF_WIDTH = { 1: 24n, 2: 2n ** 8n, 4: 2n ** 16n, 8: 2n ** 32n }; // less has a shorter form
// ignoreBOM means: do not drop it. A dropped mark would give one text two spellings.
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const CONTROL = /[\u0000-\u001f\u007f]/;

export function decode(bytes) {
  const reader = new Reader(bytes);
  const item = reader.item(0);
  demand(reader.place === bytes.length, "bytes behind the item");
  return item;
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.place = 0;
  }

  item(depth) {
    const first = this.take(1)[0];
    const major = first >> 5;
    demand(major <= ARRAY, `CBOR major type ${major} is not allowed`);
    const argument = this.argument(first & 31);
    if (major === UINT || major === NEGATIVE) return integer(major, argument);
    // No item is longer than the bytes left, an array having a byte an entry at least; so Number is exact below.
    demand(argument <= BigInt(this.bytes.length - this.place), "a length beyond the end");
    const length = Number(argument);
    if (major === BYTES) return this.take(length);
    if (major === TEXT) return text(this.take(length));
    demand(depth < DEEPEST, `arrays nest deeper than ${DEEPEST}`);
    return this.array(length, depth + 1);
  }

  array(length, depth) {
    const items = [];
    while (items.length < length) items.push(this.item(depth));
    return items;
  }

  argument(info) {
    if (info < 24) return BigInt(info);
    demand(info < 28, "an indefinite or reserved length");
    const width = 1 << (info - 24);
    const value = bigEndian(this.take(width), width);
    demand(value >= LEAST_OF_WIDTH[width], "a number not in its shortest form");
    return value;
  }

  take(count) {
    demand(this.place + count <= this.bytes.length, "the bytes end too early");
    const start = this.place;
    this.place += count;
    return this.bytes.subarray(start, this.place);
  }
}

function bigEndian(bytes, width) {
  return width === 8 ? bytes.readBigUInt64BE(0) : BigInt(bytes.readUIntBE(0, width));
}

function integer(major, argument) {
  demand(argument < TOP, "an integer outside of 64-bit signed range");
  return major === UINT ? argument : -1n - argument;
}

function text(bytes) {
  let decoded;
  try {
    decoded = UTF8.decode(bytes);
  } catch {
    demand(false, "a text that is not UTF-8");
  }
  demand(!CONTROL.test(decoded), "a text with a control character");
  return decoded;
}

export function encode(item) {
  const chunks = [];
  append(item, chunks);
  return Buffer.concat(chunks);
}

function append(item, chunks) {
  if (typeof item === "bigint") {
    chunks.push(item < 0n ? head(NEGATIVE, -1n - item) : head(UINT, item));
  } else if (typeof item === "string") {
    const bytes = Buffer.from(item, "utf8");
    chunks.push(head(TEXT, BigInt(bytes.length)), bytes);
  } else if (Array.isArray(item)) {
    chunks.push(head(ARRAY, BigInt(item.length)));
    for (const entry of item) append(entry, chunks);
  } else {
    chunks.push(head(BYTES, BigInt(item.length)), item);
  }
}

function head(major, argument) {
  if (argument < 24n) return Buffer.from([(major << 5) | Number(argument)]);
  const width = [1, 2, 4].find((bytes) => argument < 1n << BigInt(8 * bytes)) ?? 8;
  const result = Buffer.alloc(9);
  result[0] = (major << 5) | (24 + Math.log2(width));
  result.writeBigUInt64BE(argument << BigInt(8 * (8 - width)), 1);
  return result.subarray(0, 1 + width);
}
