/** Whether two are alike: plain values, arrays of such, or bytes. */
export function same(one, other) {
  if (one instanceof Uint8Array && other instanceof Uint8Array) return sameBytes(one, other);
  if (!Array.isArray(one) || !Array.isArray(other)) return Object.is(one, other);
  return one.length === other.length && one.every((each, at) => same(each, other[at]));
}

function sameBytes(one, other) {
  if (one.length !== other.length) return false;
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return false;
  return true;
}
