/** Hosts: numeric addresses and which of them are loopback. Names are for the transport to resolve. */

/** Whether this is an IPv4 or IPv6 address in numbers. */
export function isNumeric(host: string): boolean {
  return isV4(host) || groups(host) !== null;
}

/** Whether this numeric address is loopback: 127.0.0.0/8, `::1`, or the former inside the latter's family. */
export function isLoopback(host: string): boolean {
  if (isV4(host)) return host.startsWith("127.");
  const parts = groups(host);
  if (parts === null) return false;
  const zeros = (count: number) => parts.slice(0, count).every((part) => part === 0);
  return (zeros(7) && parts[7] === 1) || (zeros(5) && parts[5] === 0xffff && parts[6]! >> 8 === 127);
}

/** Whether this numeric address is a multicast group (RFC 5771, RFC 4291 section 2.7). */
export function isMulticast(host: string): boolean {
  if (isV4(host)) return Number(host.split(".", 1)[0]) >> 4 === 14;
  const parts = groups(host);
  return parts !== null && parts[0]! >> 8 === 0xff;
}

/** The one form of a numeric address, in which two are compared. */
export function canonical(host: string): string {
  return groups(host)?.map((group) => group.toString(16)).join(":") ?? host;
}

function isV4(host: string): boolean {
  const parts = host.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
}

/** The eight groups of an IPv6 address (RFC 4291, section 2.2), or null. */
function groups(host: string): number[] | null {
  let text = host;
  const v4 = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(host);
  if (v4 !== null) {
    if (!isV4(v4[2]!)) return null;
    const [a, b, c, d] = v4[2]!.split(".").map(Number) as [number, number, number, number];
    text = `${v4[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const parts = halves.map((half) => (half === "" ? [] : half.split(":")));
  if (!parts.flat().every((part) => /^[0-9a-fA-F]{1,4}$/.test(part))) return null;
  const missing = 8 - parts.flat().length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  const numbers = parts.map((half) => half.map((part) => parseInt(part, 16)));
  return [...numbers[0]!, ...new Array<number>(missing).fill(0), ...(numbers[1] ?? [])];
}
