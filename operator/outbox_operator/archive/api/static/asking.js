// Asks the archive's API, and reads its answers without a loss.

// What was wrong, as problem+json says it.
export class Problem extends Error {
  constructor({ title, detail, status = 0, errors = [], wait = null }) {
    super(detail);
    Object.assign(this, { title, detail, status, errors, wait });
  }
}

// Numbers as they were written: those of JavaScript end at 2^53, and a payload's do not.
export const exact = {
  parse(source) {
    return JSON.parse(source, (_, value, context) => {
      const written = typeof value === "number" ? context?.source : undefined;
      return written === undefined || String(value) === written ? value : JSON.rawJSON?.(written) ?? value;
    });
  },
  text: (value, space) => JSON.stringify(value, null, space),
  holds: (value) => typeof value === "object" && value !== null && !JSON.isRawJSON?.(value),
};

// What is at an address of the API, whose token is believed. Raises Problem.
export async function ask(token, path, query, signal) {
  if (!/^[\x21-\x7e]+$/.test(token)) { // which no header may hold: it would never be sent
    throw new Problem({
      title: "Not authenticated", status: 401,
      detail: "This is no token: wanted letters, digits, - and _, with dots between, found other characters.",
    });
  }
  const asked = query.size === 0 ? path : `${path}?${query}`;
  const headers = { Accept: "application/json", Authorization: `Bearer ${token}` };
  const answer = await reached(asked, { headers, signal });
  return exact.parse(await answer.text());
}

// What events may be searched by, as the API describes itself.
export async function description() {
  const answer = await reached("openapi.json", {});
  return (await answer.json()).paths["/v1/events"].get.parameters;
}

async function reached(path, options) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", credentials: "omit", redirect: "error", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem({
      title: "Not reached", detail: "The archive did not answer. Is it running, and are you connected?",
    });
  }
  if (answer.ok) return answer;
  const wait = answer.headers.get("Retry-After");
  let said = {};
  try {
    said = await answer.json();
  } catch { /* not from the archive: what stands before it says less */ }
  throw new Problem({
    title: said.title ?? "Not answered",
    detail: said.detail ?? `HTTP status ${answer.status}`,
    status: answer.status,
    errors: Array.isArray(said.errors) ? said.errors : [],
    wait,
  });
}
