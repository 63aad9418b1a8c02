/** The head of an HTTP message (RFC 9112), strictly: where a proxy might read something else than this end, it is refused. */

/** A head has at most so many bytes. */
export const mostBytes = 8192;

/** A head has at most so many fields. */
const mostFields = 64;

/** Why something is no head: the status that a server answers, and the reason. */
export class BadHead {
  constructor(
    readonly status: number,
    readonly why: string,
  ) {}
}

/** The fields of a head. */
export class Fields {
  readonly #fields: [name: string, value: string][] = [];

  /** How many there are. */
  get size(): number {
    return this.#fields.length;
  }

  /** Adds one; its name is in lower case. */
  add(name: string, value: string): void {
    this.#fields.push([name, value]);
  }

  /** The values of every field of this name. */
  all(name: string): string[] {
    return this.#fields.flatMap(([other, value]) => (other === name ? [value] : []));
  }

  /** The value of the field of this name, which may be there once and has to be ASCII, or null; throws a `BadHead`. */
  one(name: string): string | null {
    const [value, ...others] = this.all(name);
    if (value === undefined) return null;
    if (others.length > 0) throw new BadHead(400, `the field ${name} is there more than once`);
    if (/[^\0-\x7f]/.test(value)) throw new BadHead(400, `the field ${name} is not ASCII`);
    return value;
  }

  /** The items of a list that may stand in several fields, without empty ones (RFC 9110, section 5.6.1). */
  list(name: string): string[] {
    return this.all(name).flatMap((value) => value.split(",").map(trim)).filter((item) => item !== "");
  }
}

/** A head, read. */
export interface Head {
  /** Its first line. */
  line: string;
  fields: Fields;
  /** Bytes that it has. */
  size: number;
}

const latin1 = new TextDecoder("latin1");
const field = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\uffff]*)$/;
const printable = /^[\t\x20-\x7e\x80-\uffff]*$/;

/**
 * Reads the head that `bytes` begin with; null while it is not whole. It may be asked again as more bytes come: there are at most 8 KiB to look at.
 *
 * Throws a `BadHead`, as early as that is certain; `check` throws one for a first line that is none, of which the end may be missing.
 */
export function readHead(bytes: Uint8Array, check: (line: string, whole: boolean) => void): Head | null {
  const text = latin1.decode(bytes.subarray(0, mostBytes));
  const fields = new Fields();
  let first: string | null = null;
  for (let at = 0; ; ) {
    const end = text.indexOf("\n", at);
    if (end < 0) {
      const rest = text.slice(at).replace(/\r$/, "");
      if (!printable.test(rest)) throw new BadHead(400, "a character that may not be in a head");
      if (first === null) check(rest, false);
      if (text.length < mostBytes) return null;
      throw new BadHead(431, `a head of more than ${mostBytes} bytes`);
    }
    const line = text.slice(at, end - 1);
    if (text[end - 1] !== "\r" || end === at) throw new BadHead(400, "a line that does not end with CR LF");
    at = end + 1;
    if (first === null) check((first = line), true);
    else if (line === "") return { line: first, fields, size: at };
    else addField(fields, line);
  }
}

/** Whether this is a token (RFC 9110, section 5.6.2). */
export function isToken(text: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(text);
}

/** Whether a list has this item, in whatever case; `item` is in lower case. */
export function hasItem(list: string, item: string): boolean {
  return list.split(",").some((other) => trim(other).toLowerCase() === item);
}

function addField(fields: Fields, line: string): void {
  const [, name, value] = field.exec(line) ?? [];
  if (name === undefined) throw new BadHead(400, "a line that is no field");
  if (fields.size === mostFields) throw new BadHead(431, `more than ${mostFields} fields`);
  fields.add(name.toLowerCase(), trim(value!));
}

function trim(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, "");
}
