/** The timeouts that users give. */

/** The milliseconds that `timeout` says, or `otherwise`; throws a `RangeError` for what no wait can last, such as NaN, with which none would end. */
export function milliseconds(timeout: number | undefined, otherwise: number): number {
  if (timeout === undefined) return otherwise;
  if (typeof timeout === "number" && timeout >= 0) return timeout;
  throw new RangeError(`a timeout is a number of milliseconds, zero or more, and not ${String(timeout)}`);
}
