/** Misfit: a value that has no place in the model, or bytes that are no value. Held by `vectors/protocol/values.json`. */

/** A key on the way to a value. */
export type Key = string | number | bigint | boolean;

/** Deepest nesting of arrays and maps. */
export const deepest = 64;

/** What is wrong, and where. It never leaves this package; who knows what was being done makes an error of it. */
export class Misfit {
  constructor(
    /** Where, from the root that the reader named, as in `arguments[0].user.when`. */
    readonly path: string,
    readonly why: string,
  ) {}

  /** Both in words. */
  get text(): string {
    return `${this.path}: ${this.why}`;
  }
}

/** The path of what the first `depth` keys lead to. */
export function pathOf(root: string, keys: readonly Key[], depth: number): string {
  let path = root;
  for (const key of keys.slice(0, depth)) {
    if (typeof key !== "string") path += `[${key}]`;
    else path += /^[A-Za-z_][A-Za-z0-9_]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
  }
  return path;
}
