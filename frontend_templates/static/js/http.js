// Requests to this service: sends the CSRF token, speaks JSON, turns problem documents into errors in words.

export class Problem extends Error {
  /** `status`, `code`, `errors` (fields) of an RFC 9457 document; `message` is the sentence to show. */
  constructor(document) {
    super(document.detail || document.title || "The request failed.");
    this.status = document.status ?? 0;
    this.code = document.code ?? "unknown";
    this.errors = document.errors ?? [];
    this.document = document;
  }
}

function unreachable() {
  return new Problem({ status: 0, code: "unreachable", detail: "The server cannot be reached. Check the network and try again." });
}

export function csrfToken() {
  return document.querySelector('meta[name="csrf-token"]')?.content ?? "";
}

async function renewed() {
  try {
    return await (await import("./token.js")).renewToken();
  } catch {
    throw unreachable();
  }
}

/**
 * Sends `body` (an object as JSON, or FormData as it is) and returns the parsed JSON answer, null for an empty one.
 * Throws `Problem` when the service refuses, with status 0 when it cannot be reached.
 * Options: `headers`, `signal`, `keepalive`.
 */
export async function request(method, url, body = undefined, options = {}) {
  return send(method, url, body, options, true);
}

async function send(method, url, body, options, mayRetry) {
  const headers = { accept: "application/json", ...options.headers };
  if (!["GET", "HEAD"].includes(method)) headers["x-csrf-token"] = csrfToken();
  const plain = body !== undefined && !(body instanceof FormData) && !(body instanceof Blob);
  if (plain) headers["content-type"] = "application/json";
  let response;
  let answer;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: plain ? JSON.stringify(body) : body,
      credentials: "same-origin",
      signal: options.signal,
      keepalive: options.keepalive,
    });
    // A connection may drop after the headers too.
    const text = await response.text();
    const isJson = (response.headers.get("content-type") ?? "").includes("json");
    answer = isJson && text ? JSON.parse(text) : null;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (response.ok) return answer;
  // The reader logged in again in another tab: the session is good, only the token this page came with is old.
  if (answer?.code === "csrf_failed" && mayRetry && (await renewed())) return send(method, url, body, options, false);
  throw new Problem(answer ?? { status: response.status, detail: `The server answered ${response.status}. Try again in a moment.` });
}
