/** Why an HTTP request is refused, and how it is told so. The connection is closed after that. */

const phrases: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  426: "Upgrade Required",
  431: "Request Header Fields Too Large",
  505: "HTTP Version Not Supported",
};

const fields: Readonly<Record<number, string>> = {
  401: "WWW-Authenticate: Bearer\r\n",
  // Who names a protocol to upgrade to also says that it is for this connection (RFC 9110, section 7.8).
  426: "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
};

/** The response that refuses. `headOnly` for a HEAD, whose response has no body (RFC 9110, section 9.3.2); `allow` are the methods that there are. */
export function refusalText(status: number, why: string, headOnly: boolean, allow: string): string {
  const body = `${why}\n`;
  return (
    `HTTP/1.1 ${status} ${phrases[status]}\r\nConnection: close\r\n${status === 405 ? `Allow: ${allow}\r\n` : (fields[status] ?? "")}Content-Type: text/plain; charset=utf-8\r\n` +
    `Content-Length: ${new TextEncoder().encode(body).length}\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n\r\n${headOnly ? "" : body}`
  );
}
